"""Convolutions on CPUs equal XLA's in value and gradient, on one and several devices."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from darkrank_jax.models.convolution import general_convolution
from darkrank_jax.models.kernel_gradient import kernel_gradient
from tests.marks import slow_but

NAMES = ("NHWC", "HWIO", "NHWC")
OPTIONS = {"dimension_numbers": NAMES, "feature_group_count": 1, "precision": None}
# Height and width of the map, sides of the kernel, strides, padding.
CASES = {
    "ResNet's 3x3": ((8, 7), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "ResNet's 3x3 of stride 2": ((8, 7), (3, 3), (2, 2), ((1, 1), (1, 1))),
    "ResNet's stem": ((21, 18), (7, 7), (2, 2), ((3, 3), (3, 3))),
    "ResNet's shortcut": ((8, 7), (1, 1), (2, 2), ((0, 0), (0, 0))),
    "NIN's 11x11 of stride 4": ((55, 51), (11, 11), (4, 4), ((0, 0), (0, 0))),
    "patches": ((8, 12), (2, 2), (2, 2), ((0, 0), (0, 0))),
    "patches that leave a rest": ((9, 14), (4, 4), (4, 4), ((0, 0), (0, 0))),
    "asymmetric padding": ((6, 9), (3, 3), (2, 1), ((0, 1), (2, 0))),
    "sides and strides that differ": ((9, 10), (3, 5), (2, 3), ((1, 0), (2, 1))),
    "stride above the kernel": ((9, 11), (2, 1), (3, 2), ((0, 1), (0, 0))),
}


QUICK = {
    "ResNet's 3x3",
    "ResNet's 3x3 of stride 2",
    "patches that leave a rest",
    "sides and strides that differ",
    "stride above the kernel",
}


def drawn(batch, shape, sides, dtype="float32"):
    keys = jax.random.split(jax.random.key(shape[0] + 10 * shape[1] + 100 * sides[0]), 2)
    x = jax.random.normal(keys[0], (batch, *shape, 4)).astype(dtype)
    return x, jax.random.normal(keys[1], (*sides, 4, 6)).astype(dtype)


def with_gradients(function, x, kernel):
    found, transposed = jax.vjp(function, x, kernel)
    cotangent = jax.random.normal(jax.random.key(7), found.shape).astype(found.dtype)
    return found, *transposed(cotangent)


# Three images are summed in one part, eight in a part for each of the devices.
@pytest.mark.parametrize("batch", [3, pytest.param(8, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", slow_but(QUICK, CASES))
def test_values_and_gradients_equal_xla(case, batch):
    shape, sides, strides, padding = CASES[case]
    x, kernel = drawn(batch, shape, sides)
    expected = with_gradients(
        lambda *both: lax.conv_general_dilated(*both, strides, padding, dimension_numbers=NAMES),
        x, kernel,
    )  # fmt: skip
    found = with_gradients(
        lambda *both: general_convolution(*both, strides, padding, **OPTIONS), x, kernel
    )
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, atol=3e-6 * float(jnp.abs(theirs).max()))


def test_bfloat16_gradient_is_the_float32_sum_rounded_once():
    x, kernel = drawn(8, (8, 7), (3, 3), "bfloat16")
    padding = [(1, 1), (1, 1)]
    _, transposed = jax.vjp(
        lambda kernel: general_convolution(x, kernel, (1, 1), padding, **OPTIONS), kernel
    )
    cotangent = jax.random.normal(jax.random.key(7), (8, 8, 7, 6)).astype("bfloat16")
    (found,) = transposed(cotangent)
    assert found.dtype == jnp.bfloat16
    wide = [each.astype("float32") for each in (x, cotangent)]
    expected = kernel_gradient(*wide, (3, 3), (1, 1), padding)
    assert expected.dtype == jnp.float32
    np.testing.assert_array_equal(found, expected.astype("bfloat16"))


@pytest.mark.parametrize("dilation", [{"rhs_dilation": (2, 1)}, {"lhs_dilation": (1, 2)}])
@pytest.mark.parametrize("groups", [1, 4])
def test_dilated_convolutions_are_xlas(dilation, groups):
    x, kernel = drawn(2, (9, 8), (3, 3))
    kernel = kernel[:, :, :1, :4] if groups > 1 else kernel
    options = OPTIONS | dilation | {"feature_group_count": groups}
    padding = [(1, 1), (0, 1)]
    found = with_gradients(
        lambda *both: general_convolution(*both, (1, 1), padding, **options), x, kernel
    )
    expected = with_gradients(
        lambda *both: lax.conv_general_dilated(*both, (1, 1), padding, **options), x, kernel
    )
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def loss(x, kernel):
    return jnp.sum(jnp.sin(general_convolution(x, kernel, (2, 2), [(1, 1)] * 2, **OPTIONS)))


@pytest.mark.parametrize("count", [2, None])
def test_loop_over_rows_has_no_collective_on_several_devices(count):
    devices = jax.devices()[:count]
    assert len(devices) > 1
    mesh = Mesh(np.array(devices), ("batch",))
    x, kernel = drawn(2 * jax.device_count(), (10, 9), (3, 3))
    expected = jax.grad(loss, 1)(x, kernel)
    rows, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("batch",), ()))
    gradient = jax.jit(jax.grad(loss, 1), in_shardings=(rows, whole), out_shardings=whole)
    np.testing.assert_allclose(gradient(x, kernel), expected, rtol=1e-5, atol=1e-5)
    text = gradient.lower(x, kernel).compile().as_text()
    bodies = re.findall(r"body=%?([\w.-]+)", text)
    assert bodies
    for name in bodies:
        body = text[re.search(rf"^%?{re.escape(name)} ", text, re.M).start() :].split("\n}")[0]
        assert not re.search(r"all-reduce|all-gather|collective|all-to-all", body)
    assert "all-gather" not in text
    assert len(re.findall(r" all-reduce\(", text)) == 1


def test_gradient_is_a_loop_on_cpus_alone():
    x, kernel = drawn(2, (10, 9), (3, 3))
    traced = jax.jit(jax.grad(loss, 1)).trace(x, kernel)
    loops = {
        platform: "stablehlo.while" in traced.lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "cuda", "tpu")
    }
    assert loops == {"cpu": True, "cuda": False, "tpu": False}
