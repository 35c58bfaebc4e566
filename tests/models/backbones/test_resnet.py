import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from safetensors.numpy import save_file

from darkrank_jax.models import MODELS
from darkrank_jax.models.backbones.resnet import InstanceAndBatchNorm, ResNet
from darkrank_jax.models.pretrained import describe_weights, detect_resnet, tensor_name
from darkrank_jax.models.weights.fit import torch_axes
from tests.marks import slow_but
from tests.models.backbones.architectures import FEW, NETWORKS, check_outputs

# torchvision's figures, and what its classifier of 1000 classes has of them.
PUBLISHED = {
    "resnet18": (11_689_512, 512),
    "resnet34": (21_797_672, 512),
    "resnet50": (25_557_032, 2048),
    "resnet101": (44_549_160, 2048),
    "resnet152": (60_192_808, 2048),
    "resnext50_32x4d": (25_028_904, 2048),
    "resnext101_32x8d": (88_791_336, 2048),
    # timm's, and that of IBN-Net's authors.
    "resnet50d": (25_576_264, 2048),
    "resnet50_ibn_a": (25_557_032, 2048),
}


def tiny(stem="small", **options) -> ResNet:
    return ResNet((1, 1), False, width=4, stem=stem, **options)


def shapes(backbone, size, channels=3):
    images = jax.ShapeDtypeStruct((2, size, size, channels), jnp.float32)
    return jax.eval_shape(
        lambda x: backbone.init_with_output(jax.random.key(0), x, train=False), images
    )


@pytest.fixture(scope="module")
def images():
    return jax.random.normal(jax.random.key(3), (3, 8, 6, 2))


@pytest.fixture(scope="module")
def variables(images):
    """Any numbers but those of a start; drawn by NumPy, since `init` takes long to compile."""
    rng = np.random.default_rng(4)
    like = jax.eval_shape(lambda: tiny().init(jax.random.key(0), images, train=False))
    return jax.tree.map(
        lambda x: jnp.asarray(rng.gamma(2.0, 0.2, x.shape) - (x.ndim == 4) * 0.4, jnp.float32), like
    )


# Deep ones take long to trace; their blocks are resnet18's and resnet50's.
DEEP = {"resnet34", "resnet101", "resnet152", "resnext101_32x8d"}


@pytest.mark.parametrize("name", slow_but(lambda name: name not in DEEP, PUBLISHED))
def test_parameters_are_as_many_as_published(name):
    _, variables = shapes(MODELS[name](), 32)
    published, features = PUBLISHED[name]
    found = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert found == published - 1000 * (features + 1)


@pytest.mark.parametrize(
    ("stem", "sides"),
    [
        ("imagenet", [8, 8, 4, 2, 1]),
        ("strided", [16, 16, 8, 4, 2]),
        ("small", [32, 32, 16, 8, 4]),
    ],
)
@pytest.mark.parametrize(("name", "expansion"), [("resnet10", 1), ("resnet50", 4)])
def test_stages_halve_the_image_and_double_the_channels(name, expansion, stem, sides):
    maps, _ = shapes(MODELS[name](width=6, stem=stem), 32, channels=1)
    channels = [6, *(6 * expansion * 2**stage for stage in range(4))]
    expected = [(2, side, side, c) for side, c in zip(sides, channels, strict=True)]
    assert [each.shape for each in maps] == expected


VARIANTS = [name for name, (_, backbone) in NETWORKS.items() if isinstance(backbone, ResNet)]


# Take long to compile; one of their kind stays.
@pytest.mark.parametrize("name", slow_but({"resnet50_ibn_a"}, VARIANTS))
def test_variants_have_the_values_of_other_implementations(name, tmp_path):
    check_outputs(name, tmp_path)
    path, (_, backbone) = tmp_path / "weights.safetensors", NETWORKS[name]
    # The weights are the same whatever the stride.
    assert detect_resnet(path) == backbone.clone(last_stride=2, parent=None)
    said = describe_weights(path)
    assert (said["model"], said["options"]) == ("a ResNet", {"blocks": FEW})


@pytest.mark.parametrize("name", ["resnet50d", "resnet50_ibn_a", "resnext50_32x4d"])
def test_a_variants_file_is_known_by_its_name(name, tmp_path):
    _, variables = shapes(MODELS[name](), 32)
    names = [
        (tensor_name(("params", *path), MODELS[name]()), leaf.shape)
        for path, leaf in traverse_util.flatten_dict(variables["params"]).items()
    ]
    tensors = {
        name: np.zeros([shape[axis] for axis in torch_axes(len(shape))], np.float16)
        for name, shape in names
    }
    save_file(tensors, tmp_path / "weights.safetensors")
    said = describe_weights(tmp_path / "weights.safetensors")
    assert (said["model"], said["options"]) == (name, {})


def test_half_of_the_channels_are_normalized_by_each_image():
    rng = np.random.default_rng(2)
    x = rng.gamma(2.0, 1.5, (3, 5, 4, 6)).astype(np.float32)
    scale, bias, mean = (rng.normal(size=3).astype(np.float32) for _ in range(3))
    var = rng.uniform(0.5, 2, 3).astype(np.float32)
    norm = InstanceAndBatchNorm(False, jnp.float32)
    variables = {
        "params": {each: {"scale": scale, "bias": bias} for each in ("IN", "BN")},
        "batch_stats": {"BN": {"mean": mean, "var": var}},
    }
    found = np.asarray(norm.apply(variables, jnp.asarray(x)))
    for image, channel in np.ndindex(3, 3):
        own = x[image, :, :, channel]
        expected = (own - own.mean()) / np.sqrt(own.var() + 1e-5) * scale[channel] + bias[channel]
        np.testing.assert_allclose(found[image, :, :, channel], expected, atol=1e-4)
    rest = (x[..., 3:] - mean) / np.sqrt(var + 1e-5) * scale + bias
    np.testing.assert_allclose(found[..., 3:], rest, atol=1e-4)


def test_evaluation_sees_each_image_alone(images, variables):
    together = tiny().apply(variables, images, train=False)[-1]
    alone = tiny().apply(variables, images[1:2], train=False)[-1]
    np.testing.assert_allclose(together[1:2], alone, atol=1e-5)


def test_training_moves_running_statistics_a_tenth_of_the_way(images, variables):
    _, updates = tiny().apply(variables, images, train=True, mutable=["batch_stats"])
    kernel = np.asarray(variables["params"]["conv1"]["kernel"])
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    out = sum(
        padded[:, i : i + 8, j : j + 6] @ kernel[i, j] for i in range(3) for j in range(3)
    ).reshape(-1, 4)
    before, after = variables["batch_stats"]["bn1"], updates["batch_stats"]["bn1"]
    for name, batch in {"mean": out.mean(axis=0), "var": out.var(axis=0)}.items():
        expected = 0.9 * np.asarray(before[name]) + 0.1 * batch
        np.testing.assert_allclose(after[name], expected, rtol=1e-4, atol=1e-6)


def test_half_precision_computes_in_it_and_keeps_parameters_in_float32(images, variables):
    half = tiny(dtype=jnp.bfloat16)
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(shapes(half, 8)[1])}
    assert dtypes == {jnp.dtype("float32")}
    maps = half.apply(variables, images, train=False)
    assert {each.dtype for each in maps} == {jnp.dtype("bfloat16")}
    expected = np.asarray(tiny().apply(variables, images, train=False)[-1])
    error = np.abs(np.asarray(maps[-1], np.float32) - expected).max()
    assert 0 < error < 0.03 * np.abs(expected).max()
