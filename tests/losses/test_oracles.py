"""Losses without golden values against loops, and cross-batch memory."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax import losses
from darkrank_jax.losses import masks, memory, miners, pairwise
from tests.references import losses as reference

RNG = np.random.default_rng(7)
X, TEACHER = RNG.normal(size=(2, 10, 4))
LABELS = np.array([0, 1, 1, 2, 0, 1, 3, 2, 0, 1])
WEIGHTS = RNG.normal(size=(4, 5))
CASES = {
    "lmnn": (
        lambda x: losses.lmnn_loss(x, LABELS, margin=1.5, push_weight=0.3),
        lambda: reference.lmnn(X, LABELS, 1.5, 0.3),
    ),
    "n_pairs": (
        lambda x: losses.n_pairs_loss(x, LABELS, l2_weight=0.2),
        lambda: reference.n_pairs(X, LABELS, 0.2),
    ),
    "smooth_ap": (
        lambda x: losses.smooth_ap_loss(x, LABELS, temperature=0.05),
        lambda: reference.smooth_ap(X, LABELS, 0.05),
    ),
    "semi_hard": (
        lambda x: losses.triplet_loss(x, LABELS, margin=0.4, mining="semi_hard"),
        lambda: reference.semi_hard_triplet(X, LABELS, 0.4),
    ),
    "mined": (
        lambda x: losses.multi_similarity_loss(
            x, LABELS, alpha=3.0, beta=9.0, base=0.4, epsilon=0.05
        ),
        lambda: reference.mined_multi_similarity(X, LABELS, 3.0, 9.0, 0.4, 0.05),
    ),
    "softmax": (
        lambda x: losses.softmax_loss(x, LABELS, WEIGHTS),
        lambda: reference.softmax(X, LABELS, WEIGHTS),
    ),
    "similarity_match": (
        lambda x: losses.similarity_match_loss(x, TEACHER),
        lambda: reference.similarity_match(X, TEACHER),
    ),
    "gaussian": (
        lambda x: losses.correlation_congruence_loss(x, TEACHER, kernel="gaussian", gamma=0.7),
        lambda: reference.gaussian_congruence(X, TEACHER, 0.7),
    ),
    "embedding_match": (
        lambda x: losses.embedding_match_loss(x, TEACHER),
        lambda: np.mean([((s - t) ** 2).sum() for s, t in zip(X, TEACHER, strict=True)]),
    ),
    "fitnet": (
        lambda x: losses.fitnet_loss(x.reshape(10, 2, 2), TEACHER.reshape(10, 2, 2)),
        lambda: np.mean((X - TEACHER) ** 2),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_value_is_that_of_the_loops(x64, monkeypatch, case):
    for name in ("LABELS", "TEACHER", "WEIGHTS"):
        monkeypatch.setitem(globals(), name, jnp.asarray(globals()[name]))
    loss, expected = CASES[case]
    value = jax.jit(loss)(jnp.asarray(X))
    monkeypatch.undo()
    np.testing.assert_allclose(value, expected(), rtol=1e-9)


@pytest.mark.parametrize("reduce_fn", [losses.mean, losses.mean_nonzero, losses.total])
@pytest.mark.parametrize("num_anchors", [None, 6])
def test_all_triplets_by_sorting_are_all_triplets(x64, reduce_fn, num_anchors):
    labels, where = jnp.asarray(LABELS), jnp.arange(10) != 4
    # Equal distances, and some that a margin meets.
    x = jnp.asarray(X).at[7].set(X[2])

    def one_by_one(x):
        pairs = masks.label_masks(labels, where, num_anchors)
        lengths = pairwise.distances(x[:num_anchors], x)
        gaps = lengths[:, :, None] - lengths[:, None, :]
        return reduce_fn(jax.nn.relu(gaps + 0.6), where=masks.triplet_mask(*pairs))

    def sorted_(x):
        return losses.triplet_loss(
            x, labels, margin=0.6, normalize_embeddings=False, num_anchors=num_anchors,
            where=where, reduce_fn=reduce_fn,
        )  # fmt: skip

    expected, slopes = jax.jit(jax.value_and_grad(one_by_one))(x)
    found, found_slopes = jax.jit(jax.value_and_grad(sorted_))(x)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(found_slopes, slopes, rtol=1e-9, atol=1e-12 * np.abs(slopes).max())


@pytest.mark.parametrize("sum_of_weights", [1e-3, 0.5, 1.0, 7.0])
def test_a_weighted_mean_is_one_whatever_the_weights_add_up_to(sum_of_weights):
    values, weights = np.array([2.0, 0.0, 4.0, 9.0]), np.array([0.2, 0.5, 0.3, 0.0])
    weights = jnp.asarray(sum_of_weights * weights)
    for reduce_fn, expected in ((losses.mean, 1.6), (losses.mean_nonzero, 3.2)):
        found = reduce_fn(jnp.asarray(values), weights=weights)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert reduce_fn(jnp.asarray(values), weights=0 * weights) == 0
        assert not jax.grad(reduce_fn)(jnp.asarray(values), weights=0 * weights).any()


def test_hinges_far_from_zero_keep_their_differences():
    # Squared distances near 1e6 that differ by a few units: a margin of 1 decides.
    x = jnp.array([[0.0], [1000.0], [1000.5], [1001.0], [999.75]])
    labels = jnp.array([0, 0, 1, 1, 1])
    value = losses.lmnn_loss(x, labels, push_weight=1.0, num_anchors=1)
    gaps = 1e6 - np.array([1000.5, 1001.0, 999.75]) ** 2 + 1
    np.testing.assert_allclose(value, np.maximum(gaps, 0).mean(), rtol=1e-3)


def test_distance_weighted_negatives_follow_the_inverse_density():
    lengths = jnp.array([[0.0, 0.3, 0.7, 1.0, 1.3, 1.9]])
    positives = jnp.array([[False, True, False, False, False, False]])
    negatives = jnp.array([[False, False, True, True, True, True]])
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = jax.vmap(
        lambda key: miners.distance_weighted_triplets(
            lengths, positives, negatives, dim=4, key=key
        ).negative[0, 1]
    )(keys)
    d = np.array([0.7, 1.0, 1.3])
    expected = 1 / (d**2 * (1 - d**2 / 4) ** 0.5)
    counts = np.bincount(drawn, minlength=6)[2:5]
    assert counts.sum() == len(keys)  # 1.9 is too far
    np.testing.assert_allclose(counts / len(keys), expected / expected.sum(), atol=0.03)


WITH_MEMORY = {
    name
    for name, loss in losses.LOSSES.items()
    if "num_anchors" in inspect.signature(loss.function).parameters
}


@pytest.mark.parametrize("name", sorted(WITH_MEMORY))
def test_the_memory_stands_in_for_a_larger_batch(x64, name):
    rows = {
        "embeddings": jnp.asarray(X),
        "labels": jnp.asarray(LABELS),
        "teacher_embeddings": jnp.asarray(TEACHER),
    }
    old, new = ({key: a[part] for key, a in rows.items()} for part in (slice(4, 10), slice(4)))
    state = memory.push(memory.create(new, size=8), old)
    joined, where = memory.join(state, new)
    function, inputs = losses.LOSSES[name]
    loss = jax.jit(partial(function, num_anchors=4))
    found = loss(*[joined[key] for key in inputs], where=where)
    np.testing.assert_allclose(found, loss(*[rows[key] for key in inputs]), rtol=1e-9)
    assert found > 0


def test_every_loss_on_labels_and_the_ranking_take_a_memory():
    labelled = {n for n, loss in losses.LOSSES.items() if loss.inputs == ("embeddings", "labels")}
    assert labelled | {"darkrank_hard", "darkrank_soft"} == WITH_MEMORY


def test_the_memory_passes_no_gradient_and_forgets_the_oldest():
    def stored(x):
        state = memory.create({"embeddings": x}, size=3)
        for batch in (x, 2 * x):
            state = memory.push(state, {"embeddings": batch}, where=jnp.array([True, False]))
        return state

    x = jnp.array([[1.0], [2.0]])
    state = stored(x)
    np.testing.assert_array_equal(state.rows["embeddings"], [[4.0], [2.0], [2.0]])
    np.testing.assert_array_equal(state.valid, [False, False, True])
    assert not jax.grad(lambda x: stored(x).rows["embeddings"].sum())(x).any()
    with pytest.raises(ValueError, match="expected at most the memory's size 3"):
        memory.push(state, {"embeddings": jnp.ones([4, 1])})
    with pytest.raises(ValueError, match=r"rows: got \['labels'\], expected \['embeddings'\]"):
        memory.push(state, {"labels": jnp.ones([2, 1])})


def test_combine_weights_by_number_and_by_schedule():
    arrays = {
        "embeddings": jnp.asarray(X, jnp.float32),
        "labels": jnp.asarray(LABELS),
        "teacher_embeddings": jnp.asarray(TEACHER, jnp.float32),
    }
    loss = losses.combine(
        {
            "triplet": {"weight": 2.0, "margin": 0.3, "mining": "distance_weighted"},
            "rkd_distance": {"weight": lambda step: 0.1 * step},
        }
    )
    total, values = jax.jit(loss)(arrays, step=4, key=jax.random.key(0))
    np.testing.assert_allclose(
        total, 2 * values["triplet"] + 0.4 * values["rkd_distance"], rtol=1e-6
    )
    expected = losses.rkd_distance_loss(arrays["embeddings"], arrays["teacher_embeddings"])
    np.testing.assert_allclose(values["rkd_distance"], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("config", "line"),
    [({"tripelt": {"weight": 1.0}}, "nearest 'triplet'"), ({"triplet": {"margin": 0.1}}, "weight")],
)
def test_combine_refuses_what_it_does_not_know(config, line):
    with pytest.raises(ValueError, match=line):
        losses.combine(config)


def test_combine_takes_the_class_weights_of_one_loss_as_they_are():
    arrays = {"embeddings": jnp.asarray(X, jnp.float32), "labels": jnp.asarray(LABELS)}
    weights = jnp.asarray(WEIGHTS, jnp.float32)
    loss = losses.combine({"softmax": {"weight": 1.0}, "supcon": {"weight": 1.0}})
    total, values = loss(arrays | {"class_weights": weights})
    assert values["softmax"] == losses.softmax_loss(*arrays.values(), weights)
    assert total == loss(arrays | {"class_weights": {"softmax": weights}})[0]


@pytest.mark.parametrize(
    ("names", "weights", "line"),
    [
        (["supcon"], {}, r"arrays: supcon takes \"labels\", and there are only embeddings"),
        (
            ["softmax", "arcface"],
            jnp.ones([4, 5]),
            "one array for softmax, arcface; give a mapping",
        ),
        (["softmax"], {"arcface": jnp.ones([4, 5])}, "class_weights: there are none for softmax"),
    ],
)
def test_combine_refuses_arrays_that_are_not_there(names, weights, line):
    arrays = {"embeddings": jnp.asarray(X)}
    if len(weights):
        arrays |= {"labels": jnp.asarray(LABELS), "class_weights": weights}
    with pytest.raises(ValueError, match=line):
        losses.combine({name: {"weight": 1.0} for name in names})(arrays)


@pytest.mark.parametrize("beta", [1.0, 2.5])
def test_compatible_ranking_is_the_exact_law_of_the_scores_in_the_teachers_gallery(beta):
    rng = np.random.default_rng(11)
    student, teacher = rng.normal(size=(2, 7, 3)).astype(np.float32)
    total = 0.0
    for query in range(7):
        own = np.linalg.norm(teacher[query] - teacher, axis=1)
        nearest = [row for row in np.argsort(own) if row != query][:3]
        across = np.linalg.norm(student[query] - teacher[nearest], axis=1)
        total += losses.permutation_kl_loss(
            jnp.asarray(-0.7 * across[None] ** beta), jnp.asarray(-0.7 * own[nearest][None] ** beta)
        )
    found = losses.compatible_ranking_loss(
        jnp.asarray(student), jnp.asarray(teacher), alpha=0.7, beta=beta, list_size=3
    )
    np.testing.assert_allclose(found, total / 7, rtol=1e-5)


@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float64", "float32")])
def test_the_angles_of_networks_of_unlike_precision(x64, dtypes):
    student, teacher = jnp.asarray(X, dtypes[0]), jnp.asarray(TEACHER, dtypes[1])
    value, slope = jax.value_and_grad(losses.rkd_angle_loss)(student, teacher)
    exact = jax.value_and_grad(losses.rkd_angle_loss)(jnp.asarray(X), jnp.asarray(TEACHER))
    assert slope.dtype == student.dtype
    np.testing.assert_allclose(value, exact[0], rtol=1e-5)
    np.testing.assert_allclose(slope, exact[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("num_anchors", [None, 7])
def test_each_anchor_may_have_a_boundary_of_its_own(num_anchors):
    x, labels = jnp.asarray(X, jnp.float32), jnp.asarray(LABELS)
    betas = jnp.linspace(0.4, 1.6, 4)[labels]

    def total(anchor, beta):
        mask = jnp.ones(10, bool)
        rows = jnp.roll(x, -anchor, axis=0), jnp.roll(labels, -anchor)
        return losses.margin_loss(
            *rows, beta=beta, num_anchors=1, reduce_fn=losses.total, where=mask
        )

    expected = sum(total(i, float(betas[i])) for i in range(num_anchors or 10))
    found = losses.margin_loss(
        x, labels, beta=betas, num_anchors=num_anchors, reduce_fn=losses.total
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)
