"""Depths of a backbone's parts, against the order in which its modules run."""

import jax
import pytest
from flax import linen as nn

from darkrank_jax.errors import UserError
from darkrank_jax.models import MODELS
from darkrank_jax.models.backbones.vit import ViT
from darkrank_jax.models.depths import BLOCKS, depths_of

# Those that take little time to trace.
QUICK = {
    "deit_t16": {"depth": 3},
    "nin_bn": {"width": 0.1},
    "resnet10": {"stem": "deep"},
}


def ran(backbone):
    """The parameters of a backbone, and the modules at its top in the order of their first call."""
    order = []

    def note(following, args, kwargs, context):
        path = context.module.path
        if len(path) == 1 and path[0] not in order:
            order.append(path[0])
        return following(*args, **kwargs)

    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), "float32")
    if isinstance(backbone, ViT):
        images = jax.ShapeDtypeStruct((1, 4 * backbone.patch, 4 * backbone.patch, 3), "float32")
    with nn.intercept_methods(note):
        found = jax.eval_shape(lambda x: backbone.init(keys, x, train=False), images)
    return found["params"], order


def check(name, **options):
    backbone = MODELS[name](**options)
    params, order = ran(backbone)
    depths = depths_of(backbone)(params)
    assert depths.keys() == params.keys()
    assert {*depths.values()} == {*range(1, max(depths.values()) + 1)}
    passed = [depths[module] for module in order if module in depths]
    assert passed == sorted(passed, reverse=True)
    # Tokens and positions are no modules, and are there before the first block.
    assert {depths[each] for each in params.keys() - {*order}} <= {max(depths.values())}


@pytest.mark.parametrize("name", QUICK)
def test_depths_fall_from_the_images_to_the_embedding_and_leave_nothing_out(name):
    check(name, **QUICK[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS.keys() - QUICK.keys())
def test_depths_of_every_other_network_fall_and_leave_nothing_out(name):
    check(name)


def test_every_backbone_is_in_the_table():
    assert {type(maker()) for maker in MODELS.values()} == BLOCKS.keys()


# From the images to the embedding: parts of one depth beside each other.
PARTS = {
    "convnext_tiny": "features.0.0+features.0.1 features.1.0 features.1.2 features.2.0+features.2.1"
    " features.3.0 features.5.2 features.5.8 features.6.1 features.7.0",
    "efficientnet_b0": "features.0 features.1.0 features.2.0 features.2.1 features.7.0 features.8",
    "inception_bn": "conv1_7x7_s2+conv1_7x7_s2_bn conv2_3x3_reduce+conv2_3x3_bn inception_3a_1x1"
    " inception_3b_3x3+inception_3b_pool_proj_bn inception_4e_3x3 inception_5a_1x1",
    "mobilenet_v3_small": "features.0 features.1 features.2 features.9 features.10 features.12",
    "osnet_x1_0": "conv1 conv2.0 conv2.1 conv2.2.0 conv3.0 conv4.1 conv5",
    "vit_b16": "cls_token+pos_embed+patch_embed.proj blocks.0 blocks.2 blocks.10 blocks.11+norm",
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_of_a_block_have_one_depth_and_blocks_count_upwards(name):
    blocks = [block.split("+") for block in PARTS[name].split()]
    found = depths_of(MODELS[name]())([part for block in blocks for part in block][::-1])
    expected = {part: len(blocks) - place for place, block in enumerate(blocks) for part in block}
    assert found == expected


def test_depths_of_a_vit_and_a_resnet_are_those_counted_by_hand():
    names = ["cls_token", "pos_embed", "patch_embed.proj", "blocks.0", "blocks.9", "blocks.10"]
    found = depths_of(MODELS["vit_b16"]())([*names, *(f"blocks.{n}" for n in range(12)), "norm"])
    # 12 blocks, of which the last one is nearest, and what embeds patches below them.
    assert [found[name] for name in names] == [13, 13, 13, 12, 3, 2]
    assert (found["blocks.11"], found["norm"]) == (1, 1)
    stages = {1: 3, 2: 4, 3: 6, 4: 3}
    blocks = [f"layer{stage}_{index}" for stage, n in stages.items() for index in range(n)]
    found = depths_of(MODELS["resnet50"]())(["bn1", *blocks, "conv1"])
    named = ["conv1", "bn1", "layer1_0", "layer2_3", "layer3_0", "layer3_5", "layer4_2"]
    assert [found[name] for name in named] == [17, 17, 16, 10, 9, 4, 1]


def test_an_unknown_backbone_and_an_unknown_part_are_refused_in_a_line():
    with pytest.raises(UserError, match=r"^layer_decay: must be 1 for the backbone Dense, whose "):
        depths_of(nn.Dense(3))
    with pytest.raises(UserError, match=r"^layer_decay: must be 1 .* whose 'adapter' is in no "):
        depths_of(MODELS["resnet10"]())(["conv1", "adapter"])
