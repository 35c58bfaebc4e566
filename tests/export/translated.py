"""Small functions of images, and their translation to ONNX checked by ONNX Runtime against JAX."""

from collections import Counter

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from darkrank_jax.export.jaxpr_to_onnx import convert

onnxruntime = pytest.importorskip("onnxruntime")
NUMBERS = ("NHWC", "HWIO", "NHWC")


def weights(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def operators(model):
    return Counter(node.op_type for node in model.graph.node)


def check(function, shape=(6, 5, 3), batches=(1, 3)):
    """Translates a function and compares it with JAX at several sizes of batch."""
    model = convert(function, shape, {"key": "text"})
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    assert session.get_modelmeta().custom_metadata_map == {"key": "text"}
    for batch in batches:
        images = np.random.default_rng(batch).integers(0, 256, (batch, *shape), np.uint8)
        (found,) = session.run(None, {"images": images})
        expected = np.asarray(function(jnp.asarray(images)))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5 * abs(expected).max())
    return model


def scaled(x):
    return x.astype(jnp.float32) / 255 - 0.6


def flat(x):
    return x.reshape(x.shape[0], -1)


def conv(x, kernel, **options):
    options = {"window_strides": (1, 1), "padding": "VALID"} | options
    return lax.conv_general_dilated(x, kernel, dimension_numbers=NUMBERS, **options)
