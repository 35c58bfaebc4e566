"""Losses whose batch lies on several devices: the values of one device, and rows of relations."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from darkrank_jax import losses

CLASSES, DEVICES = 3, 4
# Of classes, of maps, of lists, of pairs; the whole table takes longer.
SOME = ("arcface", "attention_transfer", "darkrank_soft", "supcon")
EITHER = pytest.mark.parametrize(
    "names", [SOME, pytest.param(tuple(losses.LOSSES), marks=pytest.mark.slow)], ids=len
)


def arrays_of(batch):
    rng = np.random.default_rng(5)
    shapes = {
        "embeddings": (batch, 5),
        "features": (batch, 4),
        "logits": (batch, CLASSES),
        "maps": (batch, 3, 2, 4),
    }
    shapes |= {f"teacher_{name}": shape for name, shape in shapes.items()}
    rows = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    labels = rng.permutation(np.arange(batch, dtype=np.int32) % CLASSES)
    weights = rng.normal(size=(5, CLASSES)).astype(np.float32)
    return jax.tree.map(jnp.asarray, (rows, labels, weights))


@functools.cache
def mesh():
    return jax.make_mesh((DEVICES,), ("data",), axis_types=(AxisType.Auto,))


def values_of(names, arrays, where):
    """The value of each loss, lists of DarkRank much shorter than the batch."""
    values = []
    for name in names:
        function, inputs = losses.LOSSES[name]
        options = {"list_size": 4} if name.startswith("darkrank") else {}
        values.append(function(*[arrays[array] for array in inputs], where=where, **options))
    return jnp.stack(values)


@EITHER
def test_inside_shard_map_values_and_gradients_are_those_of_one_device(names):
    rows, labels, class_weights = arrays_of(24)
    where = jnp.arange(24) != 5
    mix = jnp.linspace(0.5, 1.5, len(names))

    def of_model(gather, scale, rows, labels, class_weights, where):
        """A model with one parameter, which multiplies the rows where they lie."""
        rows = {name: array * scale for name, array in rows.items()}
        rows, labels, where = gather((rows, labels, where))
        arrays = rows | {"labels": labels, "class_weights": class_weights}
        return values_of(names, arrays, where)

    def mixed(function):
        """The gradient of a weighted sum, in which a wrong one would show, and all values."""

        def weighted(scale, rows, class_weights):
            values = function(scale, rows, labels, class_weights, where)
            return (mix * values).sum(), values

        return jax.jit(jax.grad(weighted, argnums=(0, 1, 2), has_aux=True))

    split = jax.shard_map(
        functools.partial(of_model, lambda tree: losses.gather_rows(tree, "data")),
        mesh=mesh(),
        in_specs=(P(), P("data"), P("data"), P(), P("data")),
        out_specs=P(),
    )
    whole = functools.partial(of_model, lambda tree: tree)
    expected, values = mixed(whole)(1.1, rows, class_weights)
    found, split_values = mixed(split)(1.1, rows, class_weights)
    for name, a, b in zip(names, split_values, values, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, err_msg=name)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_inside_shard_map_the_gradient_may_be_taken_inside_too():
    embeddings = arrays_of(8)[0]["embeddings"]
    labels = jnp.array([0, 1, 0, 2, 1, 0, 2, 1])

    def loss(embeddings):
        return losses.supcon_loss(losses.gather_rows(embeddings, "data"), labels)

    split = jax.shard_map(jax.grad(loss), mesh=mesh(), in_specs=P("data"), out_specs=P("data"))
    expected = jax.grad(lambda embeddings: losses.supcon_loss(embeddings, labels))
    np.testing.assert_allclose(
        jax.jit(split)(embeddings), jax.jit(expected)(embeddings), rtol=1e-4, atol=1e-6
    )


@EITHER
def test_under_jit_no_device_holds_the_relations_of_the_whole_batch(names):
    """Of a matrix [batch, batch] each device has its rows, forward and backward."""
    # smooth_ap compares triplets, and rkd_angle looks at one whole matrix for each vertex.
    names = [name for name in names if name not in ("smooth_ap", "rkd_angle")]
    batch = 72
    rows, labels, class_weights = arrays_of(batch)
    by_rows, whole = NamedSharding(mesh(), P("data")), NamedSharding(mesh(), P())

    def total(rows, class_weights, labels):
        arrays = rows | {"labels": labels, "class_weights": class_weights}
        return values_of(names, arrays, None).sum()

    compiled = (
        jax.jit(jax.grad(total, argnums=(0, 1)), in_shardings=(by_rows, whole, by_rows))
        .lower(rows, class_weights, labels)
        .compile()
    )
    program = compiled.as_text()
    assert f"f32[{batch // DEVICES},{batch}]" in program
    assert not re.findall(rf"f32\[(?:\d+,)?{batch},{batch}[\],].*", program)
