"""Convolutions are those of XLA, and norms after them as before, however they are computed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from darkrank_jax.models import build_model
from darkrank_jax.models.convolution import batch_norm, conv, conv_then_norm, plain_convolutions


def normal(rng, *shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


def kernel_shape(module, x):
    return jax.eval_shape(module.init, jax.random.key(0), x)["params"]["kernel"].shape


def both(rows, columns, side, stride, padding, groups=1):
    """A module's result and gradients, and those of XLA's convolution."""
    rng = np.random.default_rng(rows + 10 * columns + side)
    x = normal(rng, 3, rows, columns, 4)
    module = conv(6, side, stride, dtype=None, name="c", groups=groups, padding=padding)
    kernel = normal(rng, *kernel_shape(module, x))
    pads = [(side // 2 if padding is None else padding,) * 2] * 2

    def theirs(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )  # fmt: skip

    def ours(x, kernel):
        return module.apply({"params": {"kernel": kernel}}, x)

    weights = normal(rng, *jax.eval_shape(theirs, x, kernel).shape)

    def with_gradients(function, *args):
        gradients = jax.grad(lambda *args: jnp.sum(weights * function(*args)), (0, 1))
        return function(*args), *gradients(*args)

    @jax.jit
    def each(*args):
        return with_gradients(ours, *args), with_gradients(theirs, *args)

    gradient = jax.jit(jax.grad(lambda *args: jnp.sum(weights * ours(*args)), (0, 1)))

    def convolves(platform):
        """Whether the gradient's program for a platform has convolutions."""
        lowered = gradient.trace(x, kernel).lower(lowering_platforms=(platform,))
        return "stablehlo.convolution" in lowered.as_text()

    return each(x, kernel), convolves


@pytest.mark.parametrize(
    ("rows", "columns", "side", "stride", "padding", "is_product"),
    [
        (2, 2, 3, 1, None, True),
        (4, 5, 3, 2, None, True),
        (1, 3, 3, 1, None, True),
        (6, 3, 5, 2, None, True),
        (7, 6, 7, 2, 2, True),
        (3, 4, 3, 1, None, False),
        (6, 6, 3, 2, None, True),
        (3, 3, 3, 1, None, True),
        (7, 7, 3, 2, None, False),
        (5, 4, 1, 1, None, True),
        (5, 4, 1, 2, None, False),
    ],
)
def test_products_convolve_as_xla_does(rows, columns, side, stride, padding, is_product):
    (found, expected), convolves = both(rows, columns, side, stride, padding)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    assert convolves("cpu") != is_product
    assert convolves("cuda")
    assert convolves("tpu")


def test_groups_and_other_runtimes_have_convolutions_alone():
    (found, expected), convolves = both(2, 2, 3, 1, None, groups=2)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-5)
    assert convolves("cpu")
    with plain_convolutions():
        assert both(2, 2, 3, 1, None)[1]("cpu")
    assert not both(2, 2, 3, 1, None)[1]("cpu")


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
    rng = np.random.default_rng(side)
    x = normal(rng, 2, rows, columns, channels)
    module = conv(5, side, 2, dtype=None, name="c", padding=padding)
    kernel = normal(rng, *kernel_shape(module, x))
    on_cuda.clear()

    def theirs(x, kernel):
        pads, names = [(padding, padding)] * 2, ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, (2, 2), pads, dimension_numbers=names)

    def ours(x, kernel):
        return module.apply({"params": {"kernel": kernel}}, x)

    @jax.jit
    def with_gradients(x, kernel):
        expected, transposed = jax.vjp(theirs, x, kernel)
        found, ours_transposed = jax.vjp(ours, x, kernel)
        cotangent = normal(rng, *expected.shape)
        return (found, *ours_transposed(cotangent)), (expected, *transposed(cotangent))

    for one, other in zip(*with_gradients(x, kernel), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    assert any(on_cuda)


@pytest.mark.parametrize(("channels", "stride", "side"), [(4, 2, 3), (3, 1, 3), (3, 2, 1)])
def test_only_stems_go_by_blocks(channels, stride, side, on_cuda):
    module = conv(5, side, stride, dtype=None, name="c")
    jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 9, 9, channels)))
    assert not any(on_cuda)


def with_random_statistics(variables, seed=4):
    """As after some training: no mean is 0, no variance and no factor 1; some factors negative."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        noise = rng.normal(size=leaf.shape).astype(np.float32)
        return {
            "var": np.exp(np.float32(0.3) * noise),
            "mean": 0.2 * noise,
            "scale": 1 + 0.5 * noise,
            "bias": 0.1 * noise,
            "kernel": noise / np.float32(np.sqrt(np.prod(leaf.shape[:-1]))),
        }[path[-1].key]

    return jax.tree.map_with_path(draw, variables)


class Pair(nn.Module):
    biased: bool
    groups: int = 1

    @nn.compact
    def __call__(self, x, train=False):
        convolve = conv(6, 3, 2, dtype=None, name="c", bias=self.biased, groups=self.groups)
        return conv_then_norm(convolve, batch_norm(train, None, "n", epsilon=0.1), x)


@pytest.mark.parametrize("biased", [False, True])
def test_a_folded_norm_is_the_norm_of_the_convolution(biased, on_cuda):
    x = normal(np.random.default_rng(1), 3, 7, 5, 4)
    shapes = jax.eval_shape(lambda: Pair(biased).init(jax.random.key(2), x))
    on_cuda.clear()
    variables = with_random_statistics(shapes)
    found = jax.jit(Pair(biased).apply)(variables, x)
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
    x = normal(np.random.default_rng(1), 3, 7, 5, 4)
    shapes = jax.eval_shape(lambda: Pair(False).init(jax.random.key(2), x))
    variables = with_random_statistics(shapes)
    on_cuda.clear()

    @jax.jit
    def trained(variables, x):
        return Pair(False).apply(variables, x, train=True, mutable=["batch_stats"])

    _, updates = trained(variables, x)
    assert (updates["batch_stats"]["n"]["mean"] != variables["batch_stats"]["n"]["mean"]).all()
    grouped = Pair(False, groups=2)
    jax.eval_shape(lambda: grouped.init_with_output(jax.random.key(2), x))
    with plain_convolutions():
        jax.eval_shape(lambda: Pair(False).apply(variables, x))
    assert not any(on_cuda)


# Every module that convolves and normalizes, narrow; the slow have long programs.
NARROW = {
    "resnet10": {"width": 8, "stem": "strided"},
    "nin_bn": {"width": 0.1},
}
SLOW = {
    "mobilenet_v2": {"width": 0.1},
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
    images = normal(np.random.default_rng(0), 4, 48, 40, 3)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(1), images, train=False))
    variables = with_random_statistics(shapes)

    def features(variables, images):
        return model.apply(variables, images, train=False)["features"]

    apart = jax.jit(features)(variables, images)
    asked = request.getfixturevalue("on_cuda")
    # A function of its own, since what was traced before is kept.
    in_one = jax.jit(lambda *arguments: features(*arguments))(variables, images)
    assert sum(asked) > 5
    np.testing.assert_allclose(in_one, apart, rtol=1e-4, atol=1e-5 * np.abs(apart).max())


def test_the_running_variance_of_batch_norm_is_biased():
    norm = batch_norm(True, jnp.float32, "norm", momentum=0.9)
    x = jnp.array([[1.0], [2.0], [6.0]])
    # The first application initialises; statistics are those of the second alone.
    _, updated = norm.apply(norm.init(jax.random.key(0), x), x, mutable=["batch_stats"])
    np.testing.assert_allclose(
        updated["batch_stats"]["var"], 0.9 * 1 + 0.1 * np.var([1, 2, 6]), rtol=1e-5
    )
