"""Convolutions are those of XLA, and norms after them as before, however they are computed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from darkrank_jax.models import build_model
from darkrank_jax.models.convolution import batch_norm, conv, conv_then_norm, plain_convolutions


def both(rows, columns, side, stride, padding, groups=1):
    """A module's result and gradients, and those of XLA's convolution."""
    keys = jax.random.split(jax.random.key(rows + 10 * columns + side), 3)
    x = jax.random.normal(keys[0], (3, rows, columns, 4))
    module = conv(6, side, stride, dtype=None, name="c", groups=groups, padding=padding)
    variables = module.init(keys[1], x)
    kernel = variables["params"]["kernel"]
    pads = [(side // 2 if padding is None else padding,) * 2] * 2

    def theirs(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )  # fmt: skip

    def ours(x, kernel):
        return module.apply({"params": {"kernel": kernel}}, x)

    weights = jax.random.normal(keys[2], jax.eval_shape(theirs, x, kernel).shape)

    def with_gradients(function):
        gradients = jax.grad(lambda *args: jnp.sum(weights * function(*args)), (0, 1))
        return function(x, kernel), *gradients(x, kernel)

    gradient = jax.jit(jax.grad(lambda *args: jnp.sum(weights * ours(*args)), (0, 1)))

    def convolves(platform):
        """Whether the gradient's program for a platform has convolutions."""
        lowered = gradient.trace(x, kernel).lower(lowering_platforms=(platform,))
        return "stablehlo.convolution" in lowered.as_text()

    return with_gradients(ours), with_gradients(theirs), convolves


@pytest.mark.parametrize(
    ("rows", "columns", "side", "stride", "padding", "is_product"),
    [
        (2, 2, 3, 1, None, True),
        (4, 5, 3, 2, None, True),
        (1, 3, 3, 1, None, True),
        (6, 3, 5, 2, None, True),
        (7, 6, 7, 2, 2, True),
        (3, 4, 3, 1, None, False),
        (6, 6, 3, 2, None, False),
        (5, 4, 1, 1, None, True),
        (5, 4, 1, 2, None, False),
    ],
)
def test_products_convolve_as_xla_does(rows, columns, side, stride, padding, is_product):
    found, expected, convolves = both(rows, columns, side, stride, padding)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    assert convolves("cpu") != is_product
    assert convolves("cuda")
    assert convolves("tpu")


def test_groups_and_other_runtimes_have_convolutions_alone():
    found, expected, convolves = both(2, 2, 3, 1, None, groups=2)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-5)
    assert convolves("cpu")
    with plain_convolutions():
        assert both(2, 2, 3, 1, None)[2]("cpu")
    assert not both(2, 2, 3, 1, None)[2]("cpu")


@pytest.fixture
def on_cuda(monkeypatch):
    """What a CUDA device would compute, and how often it would be something of its own."""
    asked = []

    def chosen(*arguments, default, cuda=None, **others):
        asked.append(cuda is not None)
        return (cuda or default)(*arguments)

    monkeypatch.setattr(lax, "platform_dependent", chosen)
    return asked


@pytest.mark.parametrize(
    ("rows", "columns", "side", "padding", "channels"),
    [(14, 13, 7, 3, 3), (9, 12, 3, 1, 1), (8, 9, 4, 1, 3), (11, 10, 5, 0, 2), (13, 9, 2, 0, 3)],
)
def test_stems_by_blocks_convolve_as_xla_does(rows, columns, side, padding, channels, on_cuda):
    keys = jax.random.split(jax.random.key(side), 3)
    x = jax.random.normal(keys[0], (2, rows, columns, channels))
    module = conv(5, side, 2, dtype=None, name="c", padding=padding)
    kernel = module.init(keys[1], x)["params"]["kernel"]

    def theirs(x, kernel):
        pads, names = [(padding, padding)] * 2, ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, (2, 2), pads, dimension_numbers=names)

    def ours(x, kernel):
        return module.apply({"params": {"kernel": kernel}}, x)

    expected, transposed = jax.vjp(theirs, x, kernel)
    found, ours_transposed = jax.vjp(ours, x, kernel)
    cotangent = jax.random.normal(keys[2], expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(ours_transposed(cotangent), transposed(cotangent), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    assert any(on_cuda)


@pytest.mark.parametrize(("channels", "stride", "side"), [(4, 2, 3), (3, 1, 3), (3, 2, 1)])
def test_only_stems_go_by_blocks(channels, stride, side, on_cuda):
    module = conv(5, side, stride, dtype=None, name="c")
    module.init(jax.random.key(0), jnp.zeros((1, 9, 9, channels)))
    assert not any(on_cuda)


def with_random_statistics(variables, seed=4):
    """As after some training: no mean is 0, no variance and no factor 1; some factors negative."""
    leaves, tree = jax.tree.flatten_with_path(variables)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    drawn = []
    for (path, leaf), key in zip(leaves, keys, strict=True):
        noise = jax.random.normal(key, leaf.shape)
        name = path[-1].key
        new = {"var": jnp.exp(0.3 * noise), "mean": 0.2 * noise, "scale": 1 + 0.5 * noise}
        drawn.append(new.get(name, leaf + 0.1 * noise if name == "bias" else leaf))
    return jax.tree.unflatten(tree, drawn)


class Pair(nn.Module):
    biased: bool
    groups: int = 1

    @nn.compact
    def __call__(self, x, train=False):
        convolve = conv(6, 3, 2, dtype=None, name="c", bias=self.biased, groups=self.groups)
        return conv_then_norm(convolve, batch_norm(train, None, "n", epsilon=0.1), x)


@pytest.mark.parametrize("biased", [False, True])
def test_a_folded_norm_is_the_norm_of_the_convolution(biased, on_cuda):
    x = jax.random.normal(jax.random.key(1), (3, 7, 5, 4))
    variables = with_random_statistics(Pair(biased).init(jax.random.key(2), x))
    found = Pair(biased).apply(variables, x)
    kernel = variables["params"]["c"]["kernel"]
    plain = lax.conv_general_dilated(
        x, kernel, (2, 2), [(1, 1)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    of = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)
    affine, statistics = of["params"]["n"], of["batch_stats"]["n"]
    centred = np.asarray(plain) + of["params"]["c"].get("bias", 0.0) - statistics["mean"]
    expected = affine["scale"] * centred / np.sqrt(statistics["var"] + 0.1) + affine["bias"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert any(on_cuda)


def test_what_trains_mixes_groups_or_is_exported_is_not_folded(on_cuda):
    x = jax.random.normal(jax.random.key(1), (3, 7, 5, 4))
    variables = Pair(False).init(jax.random.key(2), x)
    _, updates = Pair(False).apply(variables, x, train=True, mutable=["batch_stats"])
    assert updates["batch_stats"]["n"]["mean"].any()
    grouped = Pair(False, groups=2)
    grouped.apply(grouped.init(jax.random.key(2), x), x)
    with plain_convolutions():
        Pair(False).apply(variables, x)
    assert not any(on_cuda)


# Every module that convolves and normalizes, narrow; the slow have long programs.
NARROW = {
    "resnet10": {"width": 8, "stem": "strided"},
    "mobilenet_v2": {"width": 0.1},
    "nin_bn": {"width": 0.1},
}
SLOW = {
    "resnet50": {"width": 8},
    "inception_bn": {"width": 0.1},
    "osnet_x0_25": {},
    "mobilenet_v3_small": {"width": 0.25},
}


@pytest.mark.parametrize(
    "name", [*NARROW, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def test_networks_with_folded_norms_embed_alike(name, request):
    model = build_model(name, embedding_dim=8, **(NARROW | SLOW)[name])
    images = jax.random.normal(jax.random.key(0), (4, 48, 40, 3))
    initial = jax.jit(lambda: model.init(jax.random.key(1), images, train=False))()
    variables = with_random_statistics(initial)

    def features(variables, images):
        return model.apply(variables, images, train=False)["features"]

    apart = jax.jit(features)(variables, images)
    asked = request.getfixturevalue("on_cuda")
    # A function of its own, since what was traced before is kept.
    in_one = jax.jit(lambda *arguments: features(*arguments))(variables, images)
    assert sum(asked) > 5
    np.testing.assert_allclose(in_one, apart, rtol=1e-4, atol=1e-5 * np.abs(apart).max())
