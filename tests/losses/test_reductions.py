"""`reduce_fn`, `where` and `weights` over the whole table of losses, and the losses of scores."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax import losses
from darkrank_jax.losses.reductions import apply_reduction
from tests.losses.batches import BATCH, CLASSES, QUICK, SCORES, VARIANTS, arrays_of, call_of, over

MASKED = 2
FEW = {"contrastive", "darkrank_hard", "listmle", "proxy_anchor", "triplet"}
# Shapes of the values: of pairs, of each class; all others have one for each row or anchor.
PAIRS = {
    "angular", "contrastive", "contrastive hard", "margin distance_weighted",
    "ntxent multi_similarity", "lifted_structure", "lmnn", "margin", "n_pairs", "n_pairs l2",
    "ntxent", "triplet", "triplet semi_hard", "triplet distance_weighted", "tuplet_margin",
}  # fmt: skip
# More than one mean, or values that stand for several terms each.
COMPOSED = {
    "contrastive", "contrastive hard", "lmnn", "margin", "margin distance_weighted", "n_pairs",
    "n_pairs l2", "proxy_anchor", "triplet",
}  # fmt: skip
ALL = [*VARIANTS, *SCORES]
CUSTOM = {
    "mean of all": lambda values: values.mean(),
    "logarithm": lambda values: jnp.log(values.sum()),
    "median": jnp.median,
    "masked": lambda values, where: values.sum() / where.sum(),
    "weighted": lambda values, weights=None: values.max(),
}


def shape_of(variant):
    if variant == "proxy_anchor":
        return (BATCH,)  # as many classes as rows
    if variant == "triplet hard":
        return (BATCH, 1)
    anchors = VARIANTS[variant][1].get("num_anchors", BATCH) if variant in VARIANTS else BATCH
    return (anchors, BATCH) if variant in PAIRS else (anchors,)


def rows_where(variant, rows):
    return jnp.broadcast_to(rows[:, None], (BATCH, 4)) if variant in SCORES else rows


COUNTS = np.array([2, 1, 3, 0, 1, 4, 1, 2])  # also of the masked row, which stays out
ROWS = np.arange(BATCH) != MASKED


def default_of(variant):
    table = SCORES | {name: losses.LOSSES[loss].function for name, (loss, _) in VARIANTS.items()}
    return inspect.signature(table[variant]).parameters["reduce_fn"].default


def counted(values, where):
    return where.astype(float)


@functools.cache
def results(variant):
    """Values by (reduction, weights), from one program."""
    call = call_of(variant)
    weights = jnp.asarray(COUNTS, jnp.float32)
    given = {
        "none": None, "ones": jnp.ones(BATCH), "counts": weights, "halves": weights / 2,
        "without": jnp.ones(BATCH).at[0].set(0.0),
    }  # fmt: skip
    reductions = {
        "None": None, "sum": jnp.sum, "total": losses.total, "own sum": lambda x: x.sum(),
        "mean": losses.mean, "jnp.mean": jnp.mean, "np.mean": np.mean, "counted": counted,
        "default": default_of(variant),
    }  # fmt: skip
    if variant in COMPOSED:
        del reductions["counted"]  # several terms have no common shape
    asked = [(name, "none") for name in reductions] + [
        ("None", "ones"), ("mean", "ones"), ("None", "counts"), ("sum", "counts"),
        ("total", "counts"), ("mean", "counts"), ("jnp.mean", "counts"), ("mean", "halves"),
        ("mean", "without"),
    ]  # fmt: skip

    def all_of(arrays, where):
        return {
            key: call(arrays, where=where, reduce_fn=reductions[key[0]], weights=given[key[1]])
            for key in asked
        }

    arrays = jax.tree.map(jnp.asarray, arrays_of())
    found = jax.jit(all_of)(arrays, rows_where(variant, jnp.asarray(ROWS)))
    return jax.tree.map(np.asarray, found)


@over(ALL, quick=QUICK)
def test_none_sums_and_means_agree_with_each_other_and_with_the_default(variant):
    found = {name: value for (name, given), value in results(variant).items() if given == "none"}
    values = found["None"]
    assert values.shape == shape_of(variant)
    assert (values != 0).any()
    for name in ("sum", "total", "own sum"):
        np.testing.assert_allclose(found[name], values.sum(), rtol=1e-5)
    assert found["mean"] == found["jnp.mean"] == found["np.mean"]
    if variant != "proxy_anchor":
        assert not values[MASKED].any()
    if variant not in COMPOSED:
        mask = found["counted"] > 0
        np.testing.assert_allclose(found["mean"], values[mask].mean(), rtol=1e-5)
        nonzero = default_of(variant) is losses.mean_nonzero
        above = values[values > 0] if nonzero else values[mask]
        np.testing.assert_allclose(found["default"], above.mean(), rtol=1e-5)


@over(ALL, quick=QUICK)
def test_weights_multiply_the_terms_of_their_row_and_divide_the_mean(variant):
    found = results(variant)
    plain, values = found["None", "none"], found["None", "counts"]
    np.testing.assert_allclose(found["None", "ones"], plain, rtol=1e-6)
    np.testing.assert_allclose(found["mean", "ones"], found["mean", "none"], rtol=1e-6)
    mean = found["mean", "counts"]
    assert found["jnp.mean", "counts"] == mean
    np.testing.assert_allclose(found["total", "counts"], values.sum(), rtol=1e-5)
    assert found["sum", "counts"] == found["total", "counts"]
    if variant == "proxy_anchor":
        return  # its weights are within the sums
    np.testing.assert_allclose(found["mean", "halves"], mean, rtol=1e-5)
    counts = COUNTS[: len(plain)].reshape([-1] + [1] * (plain.ndim - 1))
    np.testing.assert_allclose(values, plain * counts, rtol=1e-6)
    if variant not in COMPOSED:
        mask = found["counted", "none"] > 0
        repeated = np.repeat(plain[mask], np.broadcast_to(counts, plain.shape)[mask])
        np.testing.assert_allclose(mean, repeated.mean(), rtol=1e-5)


@over([variant for variant in ALL if variant not in COMPOSED], quick=QUICK)
def test_a_weight_of_zero_leaves_the_anchor_out_of_the_mean(variant):
    """As a positive, a negative or an item of a list the row still counts in full."""
    found = results(variant)
    mask = found["counted", "none"] > 0
    mask[0] = False
    expected = found["None", "none"][mask].mean()
    assert expected != found["mean", "none"]
    np.testing.assert_allclose(found["mean", "without"], expected, rtol=1e-5)


@over(ALL, quick=FEW)
def test_an_empty_set_gives_zero_with_zero_gradient_under_every_reduction(variant):
    call, arrays = call_of(variant), jax.tree.map(jnp.asarray, arrays_of())
    labels = arrays.pop("labels")
    where = rows_where(variant, jnp.zeros(BATCH, bool))
    asked = [(reduce_fn, None) for reduce_fn in (None, jnp.mean, jnp.sum, *CUSTOM.values())]
    asked += [(reduce_fn, jnp.ones(BATCH)) for reduce_fn in (jnp.mean, CUSTOM["weighted"])]

    def all_of(floats):
        found = [
            call(floats | {"labels": labels}, where=where, weights=weights, reduce_fn=reduce_fn)
            for reduce_fn, weights in asked
        ]
        values = jnp.stack([x.sum() for x in found])
        return values @ jnp.linspace(1.0, 2.0, len(found)), values

    slopes, values = jax.jit(jax.grad(all_of, has_aux=True))(arrays)
    np.testing.assert_array_equal(values, 0)
    for name, slope in slopes.items():
        np.testing.assert_array_equal(slope, 0, err_msg=name)


@pytest.mark.parametrize("reduce_fn", [losses.mean, losses.mean_nonzero])
def test_weights_of_composed_means_repeat_the_terms_of_the_anchor(reduce_fn):
    arrays, counts = arrays_of(), np.array([2, 1, 3, 0, 1, 4, 1, 2])
    x, labels = jnp.asarray(arrays["embeddings"]), jnp.asarray(arrays["labels"])
    loss = jax.jit(functools.partial(losses.contrastive_loss, reduce_fn=reduce_fn))
    found = loss(x, labels, weights=jnp.asarray(counts, jnp.float32))
    unit = arrays["embeddings"] / np.linalg.norm(arrays["embeddings"], axis=1, keepdims=True)
    lengths = np.linalg.norm(unit[:, None] - unit[None], axis=-1)
    expected = 0.0
    for same in (True, False):
        terms = [
            (lengths[i, j] if same else max(0.0, 1 - lengths[i, j]))
            for i in range(BATCH)
            for j in range(BATCH)
            if i != j and (arrays["labels"][i] == arrays["labels"][j]) == same
            for _ in range(counts[i])
        ]
        terms = [t for t in terms if t > 0] if reduce_fn is losses.mean_nonzero else terms
        expected += np.mean(terms)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["triplet", "margin", "lmnn"])
@pytest.mark.parametrize("reduce_fn", [losses.mean, losses.mean_nonzero, losses.total])
def test_weights_of_triplets_are_those_of_their_anchor(name, reduce_fn):
    arrays, weights = arrays_of(), np.array([2, 0.5, 3, 0, 1, 4, 1, 2], np.float32)
    x, labels = arrays["embeddings"], arrays["labels"]
    if name != "lmnn":
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
    lengths = np.linalg.norm(x[:, None] - x[None], axis=-1)
    lengths = lengths**2 if name == "lmnn" else lengths
    hinges = {"triplet": [], "margin": [], "lmnn": []}
    for a, p, n in np.ndindex(BATCH, BATCH, BATCH):
        if a != p and labels[a] == labels[p] != labels[n]:
            hinges["triplet"].append((weights[a], lengths[a, p] - lengths[a, n] + 0.2))
            hinges["lmnn"].append((weights[a], lengths[a, p] - lengths[a, n] + 1.0))
            hinges["margin"].append((weights[a], lengths[a, p] - 1.2 + 0.2))
            hinges["margin"].append((weights[a], 1.2 - lengths[a, n] + 0.2))
    times, terms = np.array(hinges[name]).T
    terms = np.maximum(terms, 0)
    if reduce_fn is losses.mean_nonzero:
        times = np.where(terms > 0, times, 0)
    expected = (times * terms).sum() / (1 if reduce_fn is losses.total else times.sum())
    options = {"push_weight": 1.0} if name == "lmnn" else {}
    loss = losses.LOSSES[name].function
    found = jax.jit(functools.partial(loss, reduce_fn=reduce_fn, **options))(
        *map(jnp.asarray, (arrays["embeddings"], labels)), weights=jnp.asarray(weights)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_weights_of_proxy_anchor_repeat_rows_of_the_batch():
    arrays, counts = arrays_of(), np.array([2, 1, 3, 0, 1, 4, 1, 2])
    proxies = jnp.asarray(arrays["class_weights"][:, :CLASSES])
    x, labels = arrays["embeddings"], arrays["labels"]

    def loss(x, labels, **given):
        slope = jax.jit(jax.value_and_grad(losses.proxy_anchor_loss, argnums=2))
        return slope(jnp.asarray(x), jnp.asarray(labels), proxies, **given)

    found = loss(x, labels, weights=jnp.asarray(counts, jnp.float32))
    expected = loss(np.repeat(x, counts, axis=0), np.repeat(labels, counts))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_function_gets_what_it_names():
    values, where = jnp.array([1.0, 2.0, 5.0]), jnp.array([True, True, False])
    weights = jnp.array([3.0, 0.5, 9.0])
    seen = {}

    def plain(values):
        seen["plain"] = values
        return values.sum()

    def masked(values, where):
        seen["masked"], seen["where"] = values, where
        return values.sum()

    def weighted(values, *, weights):
        seen["weighted"], seen["weights"] = values, weights
        return values.sum()

    for function in (plain, masked, weighted):
        apply_reduction(function, values, where, weights)
    np.testing.assert_array_equal(seen["plain"], [3, 1, 0])
    np.testing.assert_array_equal(seen["masked"], [3, 1, 0])
    np.testing.assert_array_equal(seen["where"], where)
    np.testing.assert_array_equal(seen["weighted"], [1, 2, 0])
    np.testing.assert_array_equal(seen["weights"], weights)


@pytest.mark.parametrize("reduce_fn", [losses.mean, losses.mean_nonzero, losses.total])
@pytest.mark.parametrize(
    ("given", "error", "line"),
    [
        (
            {"where": jnp.ones(3)},
            TypeError,
            "where: got an array of float32, expected bool",
        ),
        (
            {"weights": jnp.ones(3, int)},
            TypeError,
            "weights: got an array of int32, expected",
        ),
        ({"where": jnp.ones(2, bool)}, ValueError, r"where: got shape \[2\], expected \[3\]"),
        ({"weights": jnp.ones([3, 1])}, ValueError, r"weights: got shape \[3, 1\], expected \[3\]"),
    ],
)
def test_reductions_refuse_masks_and_weights_of_another_kind(reduce_fn, given, error, line):
    with pytest.raises(error, match=line):
        reduce_fn(jnp.ones(3), **given)


def test_what_a_masked_value_weighs_does_not_matter():
    values, where = jnp.array([1.0, 3.0, jnp.nan]), jnp.array([True, True, False])
    weights = jnp.array([1.0, 3.0, jnp.nan])
    value, slopes = jax.value_and_grad(losses.mean)(values, where=where, weights=weights)
    assert value == 2.5
    np.testing.assert_array_equal(slopes, [0.25, 0.75, 0])


def test_combine_gives_rows_and_weights_to_every_loss():
    arrays = jax.tree.map(jnp.asarray, arrays_of())
    where, weights = jnp.arange(BATCH) != MASKED, jnp.linspace(0.0, 2.0, BATCH)
    combined = losses.combine(
        {"supcon": {"weight": 2.0}, "pkt": {"weight": 0.5, "reduce_fn": jnp.sum}}
    )
    rows = {"where": where, "weights": weights}
    total, values = jax.jit(combined)(arrays, **rows)
    supcon = jax.jit(losses.supcon_loss)(arrays["embeddings"], arrays["labels"], **rows)
    pkt = jax.jit(functools.partial(losses.pkt_loss, reduce_fn=jnp.sum))(
        arrays["embeddings"], arrays["teacher_embeddings"], **rows
    )
    np.testing.assert_allclose([values["supcon"], values["pkt"]], [supcon, pkt], rtol=1e-6)
    np.testing.assert_allclose(total, 2 * supcon + 0.5 * pkt, rtol=1e-6)


def test_combine_refuses_values_that_no_sum_holds():
    sum_of = losses.combine({"supcon": {"weight": 1.0, "reduce_fn": None}})
    with pytest.raises(ValueError, match=r"^losses: supcon gives shape \[8\], expected a scalar"):
        sum_of(jax.tree.map(jnp.asarray, arrays_of()))


@pytest.mark.parametrize("sum_of_weights", [1e-3, 0.5, 1.0, 7.0])
def test_a_weighted_mean_is_one_whatever_the_weights_add_up_to(sum_of_weights):
    values, weights = np.array([2.0, 0.0, 4.0, 9.0]), np.array([0.2, 0.5, 0.3, 0.0])
    weights = jnp.asarray(sum_of_weights * weights)
    for reduce_fn, expected in ((losses.mean, 1.6), (losses.mean_nonzero, 3.2)):
        found = reduce_fn(jnp.asarray(values), weights=weights)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert reduce_fn(jnp.asarray(values), weights=0 * weights) == 0
        assert not jax.grad(reduce_fn)(jnp.asarray(values), weights=0 * weights).any()
