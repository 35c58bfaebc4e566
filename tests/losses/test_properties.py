"""Every loss on whatever batch Hypothesis finds: values, masks and labels, and, slowly, shapes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from darkrank_jax import losses

CLASSES = 3
EXAMPLES = settings(max_examples=25, deadline=None, derandomize=True)
# Subnormal numbers are flushed to zero on most devices.
FLOATS = st.floats(-1e4, 1e4, width=32, allow_subnormal=False)
every_loss = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in losses.LOSSES]
)


@st.composite
def batches(draw, name, rows, dims):
    """Arrays of a loss by position, and its mask."""
    batch, dim = draw(rows), draw(dims)
    shapes = {
        "embeddings": (batch, dim),
        "features": (batch, dim, 2),
        "logits": (batch, CLASSES),
        "maps": (batch, 2, 3, dim),
    }
    shapes |= {f"teacher_{key}": shape for key, shape in shapes.items()}
    shapes["class_weights"] = (dim, CLASSES * losses.centers_of(name, {}))
    found = []
    for key in losses.LOSSES[name].inputs:
        if key == "labels":
            labels = st.integers(0, CLASSES - 1)
            found.append(draw(arrays_of.arrays(np.int32, batch, elements=labels)))
        else:
            found.append(draw(arrays_of.arrays(np.float32, shapes[key], elements=FLOATS)))
    return found, draw(arrays_of.arrays(bool, batch))


@functools.cache
def compiled(name):
    def evaluate(first, *rest, where):
        return losses.LOSSES[name].function(first, *rest, where=where)

    return jax.jit(jax.value_and_grad(evaluate))


def check(name, batch):
    inputs, where = batch
    value, gradient = compiled(name)(*map(jnp.asarray, inputs), where=jnp.asarray(where))
    assert value.shape == ()
    assert value.dtype == jnp.float32
    assert jnp.isfinite(value)
    assert jnp.isfinite(gradient).all()
    assert not gradient[~where].any()
    # A KL over pairs of common code has a constant in its logarithm and can fall below 0.
    assert value >= (-1e-3 if name == "pkt" else -1e-5)
    if not where.any():
        assert value == 0


@pytest.mark.slow
@every_loss
def test_any_values(name):
    @EXAMPLES
    @given(batches(name, st.just(5), st.just(3)))
    def run(batch):
        check(name, batch)

    run()


@pytest.mark.slow
@every_loss
def test_any_shapes(name):
    @settings(EXAMPLES, max_examples=12)
    @given(batches(name, st.integers(1, 7), st.integers(1, 4)))
    def run(batch):
        check(name, batch)

    run()
