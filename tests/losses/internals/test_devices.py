"""Losses whose batch lies on several devices: the values of one device, and rows of relations."""

import contextlib
import functools
import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from darkrank_jax import losses
from tests.marks import slow_but

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
    weights = rng.normal(size=(5, 30 * CLASSES)).astype(np.float32)
    return jax.tree.map(jnp.asarray, (rows, labels, weights))


@functools.cache
def mesh(kind=AxisType.Auto):
    return jax.make_mesh((DEVICES,), ("data",), axis_types=(kind,))


def values_of(names, arrays, where):
    """The value of each loss, lists of DarkRank much shorter than the batch."""
    values = []
    for name in names:
        function, inputs = losses.LOSSES[name]
        options = {"list_size": 4} if name.startswith("darkrank") else {}
        values.append(function(*[arrays[array] for array in inputs], where=where, **options))
    return jnp.stack(values)


class Model(NamedTuple):
    """A model with one parameter, which multiplies the rows where they lie, and class weights."""

    scale: Any
    class_weights: Any


def value_of(names, gather, model, rows, labels, where):
    """A weighted sum of losses, in which a wrong one would show, and all of their values."""
    rows = {name: array * model.scale for name, array in rows.items()}
    rows, labels, where = gather((rows, labels, where))
    arrays = rows | {"labels": labels, "class_weights": model.class_weights}
    values = values_of(names, arrays, where)
    return (jnp.linspace(0.5, 1.5, len(names)) * values).sum(), values


def gathered(tree):
    return losses.gather_rows(tree, "data")


def spread(mesh, model, batch):
    """The model on all devices of a mesh, and the batch split over them."""
    whole, split = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
    return jax.device_put(model, whole), jax.device_put(batch, split)


def jitted(kind, names, model, *batch):
    """`jax.jit` with the batch split over a mesh, and nothing gathered."""
    model, batch = spread(mesh(kind), model, batch)
    loss = functools.partial(value_of, names, lambda tree: tree)
    return jax.jit(jax.grad(loss, has_aux=True))(model, *batch)


def shard_mapped(check_vma, names, model, *batch):
    """The gradient of a `shard_map`."""
    loss = functools.partial(value_of, names, gathered)
    parts = (P(), P("data"), P("data"), P("data"))
    split = jax.shard_map(loss, mesh=mesh(), in_specs=parts, out_specs=P(), check_vma=check_vma)
    return jax.jit(jax.grad(split, has_aux=True))(model, *batch)


def shard_mapped_inside(check_vma, names, model, *batch):
    """A `shard_map` of the gradient, of which the mean over the devices is taken if need be."""

    def inner(model, *batch):
        gradient = jax.grad(functools.partial(value_of, names, gathered), has_aux=True)
        found, values = gradient(model, *batch)
        return (found if check_vma else jax.lax.pmean(found, "data")), values

    # A mesh of either kind does; an explicit one takes what is split over it already.
    where = mesh(AxisType.Explicit)
    model, batch = spread(where, model, batch)
    parts = (P(), P("data"), P("data"), P("data"))
    split = jax.shard_map(inner, mesh=where, in_specs=parts, out_specs=P(), check_vma=check_vma)
    return jax.jit(split)(model, *batch)


def pmapped(names, model, *batch):
    """`jax.pmap` of the gradient, of which the mean over the devices is taken."""

    def inner(model, *batch):
        gradient = jax.grad(functools.partial(value_of, names, gathered), has_aux=True)
        found, values = gradient(model, *batch)
        return jax.lax.pmean(found, "data"), values

    parts = jax.tree.map(lambda x: x.reshape(DEVICES, -1, *x.shape[1:]), batch)
    found = jax.pmap(inner, axis_name="data", in_axes=(None, 0, 0, 0))(model, *parts)
    # Each device has both.
    first = jax.tree.map(lambda x: x[0], found)
    for copies, one in zip(jax.tree.leaves(found), jax.tree.leaves(first), strict=True):
        np.testing.assert_array_equal(copies, np.broadcast_to(one, copies.shape))
    return first


# The rows of the table in docs/guides/accelerators.md.
KINDS = {
    "jit, automatic axes": functools.partial(jitted, AxisType.Auto),
    "jit, explicit axes": functools.partial(jitted, AxisType.Explicit),
    "shard_map": functools.partial(shard_mapped, True),
    "shard_map, gradient inside": functools.partial(shard_mapped_inside, True),
    "shard_map(check_vma=False)": functools.partial(shard_mapped, False),
    "shard_map(check_vma=False), gradient inside": functools.partial(shard_mapped_inside, False),
    "pmap": pmapped,
}


@functools.cache
def on_one_device(names):
    model, batch = model_and_batch()
    loss = functools.partial(value_of, names, lambda tree: tree)
    return jax.jit(jax.grad(loss, has_aux=True))(model, *batch)


def model_and_batch():
    rows, labels, class_weights = arrays_of(24)
    return Model(jnp.float32(1.1), class_weights), (rows, labels, jnp.arange(24) != 5)


@EITHER
@pytest.mark.parametrize("kind", slow_but(("jit, automatic axes", "shard_map", "pmap"), KINDS))
def test_values_and_gradients_are_those_of_one_device(kind, names):
    model, batch = model_and_batch()
    expected, values = on_one_device(names)
    found, split_values = KINDS[kind](names, model, *batch)
    for name, a, b in zip(names, split_values, values, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, err_msg=name)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_the_guide_has_a_row_for_each_kind():
    page = (Path(__file__).parents[3] / "docs" / "guides" / "accelerators.md").read_text()
    table = page[page.index("## The losses in your own parallel code") :]
    assert [kind for kind in KINDS if f"\n| {kind} |" not in table.replace("`", "")] == []


@pytest.mark.parametrize("in_context", [True, False])
def test_on_explicit_axes_values_of_rows_are_those_of_one_device_and_gradients_stay_split(
    in_context,
):
    rows, _, _ = arrays_of(8)
    arrays = rows["embeddings"], rows["teacher_embeddings"]
    where = mesh(AxisType.Explicit)
    split = jax.device_put(arrays, NamedSharding(where, P("data")))
    sampled = {"method": "sampled", "list_size": 4, "num_samples": 2, "reduce_fn": None}

    @jax.jit
    def both(*arrays):
        def weighted(*arrays):
            found = losses.darkrank_soft_loss(*arrays, **sampled, key=jax.random.key(3))
            return (jnp.arange(8.0) * found).sum(), found

        return jax.grad(weighted, has_aux=True)(*arrays)

    expected = both(*arrays)
    with jax.set_mesh(where) if in_context else contextlib.nullcontext():
        gradient, values = both(*split)
    np.testing.assert_allclose(values, expected[1], rtol=2e-5)
    np.testing.assert_allclose(gradient, expected[0], rtol=1e-4, atol=1e-6)
    assert gradient.sharding.spec[0] == "data"


@pytest.mark.parametrize("jit", [jax.jit, lambda function: function], ids=["jit", "eager"])
def test_on_explicit_axes_a_loss_of_scores_is_that_of_one_device(jit):
    rows, _, _ = arrays_of(8)
    scores = rows["embeddings"], rows["teacher_embeddings"]
    split = jax.device_put(scores, NamedSharding(mesh(AxisType.Explicit), P("data")))
    found = jit(losses.listmle_loss)(*split)
    np.testing.assert_allclose(found, losses.listmle_loss(*scores), rtol=2e-5)


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
    # smooth_ap compares triplets, rkd_angle looks at one whole matrix for each vertex, and angular
    # multiplies two of them.
    names = [name for name in names if name not in ("angular", "smooth_ap", "rkd_angle")]
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
