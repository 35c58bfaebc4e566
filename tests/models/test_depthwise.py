"""Depthwise convolutions are those of XLA in value and gradient, on one and several devices."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from darkrank_jax.models import build_model
from darkrank_jax.models.convolution import conv, general_convolution, plain_convolutions
from darkrank_jax.models.depthwise import depthwise
from tests.marks import slow_but


def of_xla(x, kernel, strides, padding):
    names = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=names, feature_group_count=x.shape[-1]
    )


def drawn(batch, rows, columns, channels, sides, dtype="float32"):
    rng = np.random.default_rng(rows + 10 * columns + 100 * sides[0])
    shapes = (batch, rows, columns, channels), (*sides, 1, channels)
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def drawn_like(x):
    return jnp.asarray(np.random.default_rng(7).normal(size=x.shape), x.dtype)


def with_gradients(*functions, x, kernel):
    """Result and gradients of each function, by one program."""

    def of(function, *both):
        found, transposed = jax.vjp(function, *both)
        return found, *transposed(drawn_like(found))

    return jax.jit(lambda *both: [of(function, *both) for function in functions])(x, kernel)


def close(found, expected, dtype="float32"):
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype == dtype
    found, expected = (np.asarray(each, np.float64) for each in (found, expected))
    # bfloat16 is rounded once here, and so is XLA's.
    tolerance = 2e-6 if dtype == "float32" else 8e-3
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max() + 1e-30)


# Height and width of the map, sides of the kernel, strides, padding.
CASES = {
    "MobileNet's 3x3": ((12, 11), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "MobileNet's 3x3 of stride 2": ((12, 11), (3, 3), (2, 2), ((1, 1), (1, 1))),
    "stride 2 of odd sides": ((9, 13), (3, 3), (2, 2), ((1, 1), (1, 1))),
    "EfficientNet's 5x5": ((8, 7), (5, 5), (1, 1), ((2, 2), (2, 2))),
    "EfficientNet's 5x5 of stride 2": ((8, 7), (5, 5), (2, 2), ((2, 2), (2, 2))),
    "ConvNeXt's 7x7": ((9, 6), (7, 7), (1, 1), ((3, 3), (3, 3))),
    "maps below the kernel": ((2, 3), (7, 7), (1, 1), ((3, 3), (3, 3))),
    "one pixel": ((1, 1), (3, 3), (2, 2), ((1, 1), (1, 1))),
    "no padding": ((6, 9), (3, 3), (2, 2), ((0, 0), (0, 0))),
    "padding after alone": ((8, 8), (3, 3), (2, 2), ((0, 1), (0, 1))),
    "as much padding as fits": ((4, 5), (3, 3), (1, 1), ((2, 2), (2, 0))),
    "sides and strides that differ": ((9, 10), (3, 5), (2, 1), ((1, 0), (2, 1))),
    "stride above the kernel": ((9, 10), (2, 1), (3, 2), ((0, 1), (0, 0))),
    "kernel of one place": ((5, 4), (1, 1), (2, 2), ((0, 0), (0, 0))),
}


QUICK = {
    "MobileNet's 3x3 of stride 2",
    "EfficientNet's 5x5",
    "maps below the kernel",
    "one pixel",
    "as much padding as fits",
    "sides and strides that differ",
    "stride above the kernel",
}
HALVES = ("MobileNet's 3x3", "EfficientNet's 5x5 of stride 2", "ConvNeXt's 7x7")


@pytest.mark.parametrize(
    ("case", "dtype"),
    slow_but(
        lambda case: case[0] in QUICK,
        [*((case, "float32") for case in CASES), *((case, "bfloat16") for case in HALVES)],
    ),
)
def test_values_and_gradients_are_xlas(case, dtype):
    (rows, columns), sides, strides, padding = CASES[case]
    x, kernel = drawn(3, rows, columns, 4, sides, dtype)
    found, expected = with_gradients(
        lambda *both: depthwise(*both, strides, padding),
        lambda *both: of_xla(*both, strides, padding),
        x=x,
        kernel=kernel,
    )
    for ours, theirs in zip(found, expected, strict=True):
        close(ours, theirs, dtype)


@pytest.mark.parametrize("seed", range(3))
def test_values_and_gradients_are_xlas_for_random_shapes(seed):
    rng = np.random.default_rng(seed)
    sides, strides = rng.integers(1, 6, 2).tolist(), rng.integers(1, 4, 2).tolist()
    padding = [tuple(rng.integers(0, 4, 2).tolist()) for _ in range(2)]
    rows, columns = (side + int(rng.integers(0, 9)) for side in sides)
    x, kernel = drawn(2, rows, columns, 5, sides)
    found, expected = with_gradients(
        lambda *both: depthwise(*both, strides, padding),
        lambda *both: of_xla(*both, strides, padding),
        x=x,
        kernel=kernel,
    )
    for ours, theirs in zip(found, expected, strict=True):
        close(ours, theirs)


def test_padding_beyond_the_kernel_has_the_gradient_of_the_explicit_sum():
    """Explicit, since XLA's own gradient is wrong there on CPUs (jax 0.10)."""
    x, kernel = drawn(2, 4, 5, 3, (3, 3))
    padding = ((4, 3), (5, 0))
    cotangent = np.random.default_rng(2).normal(size=(2, 9, 8, 3)).astype(np.float32)

    @jax.jit
    def gradient(x, cotangent):
        return jax.vjp(lambda x: depthwise(x, kernel, (1, 1), padding), x)[1](cotangent)[0]

    expected = np.zeros(x.shape)
    for row, column, i, j in np.ndindex(9, 8, 3, 3):
        y, z = row - 4 + i, column - 5 + j
        if 0 <= y < 4 and 0 <= z < 5:
            expected[:, y, z] += cotangent[:, row, column] * np.asarray(kernel)[i, j, 0]
    np.testing.assert_allclose(gradient(x, jnp.asarray(cotangent)), expected, atol=1e-5)


def loss(x, kernel, strides=(2, 2)):
    return jnp.sum(jnp.sin(depthwise(x, kernel, strides, ((1, 1), (1, 1)))))


def test_mapped_over_kernels_each_is_its_own():
    x, kernel = drawn(2, 6, 5, 3, (3, 3))
    kernels = jnp.stack([kernel, 2 * kernel, kernel - 1])
    gradient = jax.grad(loss, 1)
    found = jax.jit(jax.vmap(gradient, (None, 0)))(x, kernels)
    for ours, own in zip(found, kernels, strict=True):
        np.testing.assert_allclose(ours, jax.jit(gradient)(x, own), rtol=1e-5, atol=1e-5)


def test_recomputed_gradients_are_the_same():
    x, kernel = drawn(2, 6, 5, 3, (3, 3))
    found = jax.jit(jax.grad(jax.checkpoint(loss), (0, 1)))(x, kernel)
    for ours, expected in zip(found, jax.jit(jax.grad(loss, (0, 1)))(x, kernel), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_several_devices_meet_once_after_the_loop(strides):
    devices = jax.devices()
    assert len(devices) > 1
    mesh = Mesh(np.array(devices), ("batch",))
    x, kernel = drawn(2 * len(devices), 10, 9, 4, (3, 3))
    expected = jax.jit(jax.grad(loss, (0, 1)), static_argnums=2)(x, kernel, strides)
    shardings = (NamedSharding(mesh, PartitionSpec("batch")), NamedSharding(mesh, PartitionSpec()))
    gradient = jax.jit(
        lambda x, kernel: jax.grad(loss, (0, 1))(x, kernel, strides),
        in_shardings=shardings,
        out_shardings=shardings,
    )
    for ours, theirs in zip(gradient(x, kernel), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    text = gradient.lower(x, kernel).compile().as_text()
    bodies = re.findall(r"body=%?([\w.-]+)", text)
    assert bodies
    for name in bodies:
        body = text[re.search(rf"^%?{re.escape(name)} ", text, re.M).start() :].split("\n}")[0]
        assert not re.search(r"all-reduce|all-gather|collective|all-to-all", body)
    assert "all-gather" not in text
    assert "all-reduce" in text


@pytest.mark.parametrize("groups", [4, 2])
def test_only_convolutions_of_single_channels_are_sums_on_cpus(groups):
    x = jnp.ones((1, 6, 6, 4))
    module = conv(4, 3, dtype=None, name="c", groups=groups)
    variables = jax.eval_shape(module.init, jax.random.key(0), x)

    def convolves(platform):
        # A function of its own, since what was traced before is kept.
        traced = jax.jit(lambda *arguments: module.apply(*arguments)).trace(variables, x)
        return "stablehlo.convolution" in traced.lower(lowering_platforms=(platform,)).as_text()

    assert convolves("cpu") == (groups == 2)
    assert convolves("cuda")
    assert convolves("tpu")
    with plain_convolutions():
        assert convolves("cpu")


def test_a_wider_kernel_than_its_channels_is_xlas():
    x, kernel = drawn(2, 6, 5, 3, (3, 3))
    kernel = jnp.concatenate([kernel, kernel + 1], axis=-1)
    options = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "feature_group_count": 3}
    padding = [(1, 1), (1, 1)]
    found = general_convolution(x, kernel, (1, 1), padding, **options)
    expected = lax.conv_general_dilated(x, kernel, (1, 1), padding, **options)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mobilenet_v2", {"width": 0.1}),
        pytest.param("convnext_tiny", {"width": 8}, marks=pytest.mark.slow),
        pytest.param("osnet_x0_25", {}, marks=pytest.mark.slow),
        pytest.param("mobilenet_v3_small", {"width": 0.25}, marks=pytest.mark.slow),
    ],
)
def test_networks_have_no_grouped_convolutions_on_cpus(name, options):
    model = build_model(name, embedding_dim=8, **options)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    traced = jax.jit(lambda v, x: model.apply(v, x, train=False)).trace(variables, images)
    counts = {
        platform: len(re.findall(r"feature_group_count = (?!1 )", lowered))
        for platform in ("cpu", "cuda")
        for lowered in [traced.lower(lowering_platforms=(platform,)).as_text()]
    }
    assert counts["cpu"] == 0
    assert counts["cuda"] > 5
