"""Networks of the table: their options, their types of numbers, and maps of odd images."""

import functools

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from darkrank_jax.errors import UserError
from darkrank_jax.models import MODELS, build_model, compute_dtype, model_options
from tests.marks import slow_but
from tests.models.backbones.architectures import NETWORKS, check_outputs, shapes

# Options of a backbone beside its width.
OWN = {name: {"stem", "last_stride"} for name in MODELS if name.startswith("resne")}
VIT = {"depth", "patch", "tokens", "registers", "activation", "projection"}
OWN |= {name: VIT for name in MODELS if name.startswith(("vit", "deit", "dino", "clip", "siglip"))}
OWN |= {name: {"depth"} for name in MODELS if name.startswith("efficientnet")}
OWN |= {name: {"norm_epsilon"} for name in MODELS if name.startswith("mobilenet_v3")}
OWN |= {"nin_bn": {"dropout"}}


def test_options_reach_the_backbone_and_the_head():
    model = build_model(
        "resnet50", width=12, stem="strided", dtype="bfloat16", pooling="gem", embedding_dim=9
    )
    backbone = model.backbone
    assert (backbone.blocks, backbone.bottleneck) == ((3, 4, 6, 3), True)
    assert (backbone.width, backbone.stem, backbone.dtype.__name__) == (12, "strided", "bfloat16")
    assert (model.pooling, model.embedding_dim) == ("gem", 9)


@pytest.mark.parametrize("name", MODELS)
def test_every_option_can_be_set(name):
    defaults = {"dtype": "float32"}
    head = {"pooling", "embedding_dim", "head_batch_norm", "normalize", "dtype"}
    assert set(model_options(name)) == {"width"} | head | OWN.get(name, set())
    model = build_model(name, **defaults)
    for option in model_options(name).keys() - defaults.keys():
        value = getattr(model, option, None) or getattr(model.backbone, option, False)
        build_model(name, **{option: value})


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("resnet81", {}, "unknown name 'resnet81'; did you mean 'resnet18'?"),
        ("resnet18", {"widht": 8}, "model.widht: unknown field; did you mean 'width'?"),
        ("resnet18", {"blocks": (1,)}, "model.blocks: unknown field; valid: "),
        ("resnet18", {"stem": "smal"}, "model.stem: must be one of imagenet, deep, strided, small"),
        ("resnet18", {"pooling": "mex"}, "model.pooling: must be one of average, max, gem (got"),
        ("resnet18", {"dtype": "float16"}, "model.dtype: must be one of auto, float32, bfloat16"),
    ],
)
def test_what_does_not_exist_is_refused_in_one_line(name, options, line):
    with pytest.raises(UserError) as error:
        build_model(name, **options)
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


class WithoutType(nn.Module):
    width: int = 8


@pytest.mark.parametrize(
    ("maker", "line"),
    [
        (
            lambda width=8: None,
            "MODELS['own']: must be a Flax module class or a functools.partial of one (got "
            "<function <lambda>",
        ),
        (
            WithoutType(),
            "MODELS['own']: must be a Flax module class or a functools.partial of one (got Without",
        ),
        (
            functools.partial(WithoutType, width=3),
            "MODELS['own']: WithoutType must have a field dtype, the type of its computation; add "
            "`dtype: Any = jnp.float32`",
        ),
    ],
)
def test_an_entry_that_makes_no_backbone_is_named(maker, line, monkeypatch):
    monkeypatch.setitem(MODELS, "own", maker)
    with pytest.raises(UserError) as error:
        build_model("own")
    assert str(error.value).startswith(line)


def test_half_precision_is_for_accelerators_unless_it_is_asked_for(monkeypatch):
    assert compute_dtype("auto") == jnp.float32
    assert compute_dtype("bfloat16") == jnp.bfloat16
    for platform in ("gpu", "tpu"):
        monkeypatch.setattr(jax, "default_backend", lambda platform=platform: platform)
        assert compute_dtype("auto") == jnp.bfloat16
        assert compute_dtype("float32") == jnp.float32
        assert build_model("resnet10", dtype="auto", width=4).backbone.dtype == jnp.bfloat16


# Of the last map of an image of 224 pixels.
SIDES = {"nin_bn": 6, "inception_bn": 7, "osnet_x0_25": 14, "mobilenet_v3_small": 7}


@pytest.mark.parametrize("name", slow_but(lambda name: name != "osnet_x0_25", SIDES))
def test_maps_of_an_image_that_is_not_square_and_in_half_precision(name):
    """Market-1501's crops, and sizes at which Caffe's windows are filled in part."""
    backbone = MODELS[name](dtype=jnp.bfloat16)
    maps, _ = shapes(backbone, size=(224, 112), train=True)
    assert {each.dtype for each in maps} == {jnp.dtype("bfloat16")}
    (_, high, wide, _), side = maps[-1].shape, SIDES[name]
    assert (high, wide) == (side, {"nin_bn": 3}.get(name, -(-side // 2)))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_of_an_image_that_is_not_square_agree_with_other_implementations(name, tmp_path):
    check_outputs(name, tmp_path, size=1)
