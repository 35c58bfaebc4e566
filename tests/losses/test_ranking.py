"""Plackett-Luce losses against enumeration, and where enumeration cannot go."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkrank_jax import losses
from darkrank_jax.losses import reductions
from darkrank_jax.losses.internals import checks
from tests.losses.batches import unlabelled_batch
from tests.references import losses as reference

RNG = np.random.default_rng(11)
STUDENT, TEACHER = RNG.normal(size=(2, 3, 5)) * 2


def test_listmle_is_the_probability_of_the_order(x64):
    expected = np.mean(
        [
            -reference.log_probability(s, np.argsort(-t))
            for s, t in zip(STUDENT, TEACHER, strict=True)
        ]
    )
    value = jax.jit(losses.listmle_loss)(STUDENT, TEACHER)
    np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_listmle_cut_and_weighted(x64):
    weights = np.array([1.0, 0.7, 0.2, 5.0, 5.0])
    loss = functools.partial(losses.listmle_loss, top_k=3)
    value = jax.jit(loss)(STUDENT[0], TEACHER[0], position_weights=weights)
    ranked = STUDENT[0][np.argsort(-TEACHER[0])]
    terms = [np.logaddexp.reduce(ranked[k:]) - ranked[k] for k in range(3)]
    np.testing.assert_allclose(value, weights[:3] @ terms, rtol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_exact_is_the_sum_over_permutations(x64, size):
    student, teacher = np.random.default_rng(size).normal(size=(2, size)) * 3
    value = jax.jit(losses.permutation_kl_loss)(student, teacher)
    np.testing.assert_allclose(
        value, reference.permutation_kl(student, teacher), rtol=1e-10, atol=1e-15
    )


def test_exact_cut_and_weighted(x64):
    weights = np.array([1.0, 0.7, 0.2, 3.0, 0.5])
    loss = functools.partial(losses.permutation_kl_loss, top_k=4)
    value = jax.jit(loss)(STUDENT[0], TEACHER[0], position_weights=weights)
    weights[4] = 0
    expected = reference.weighted_permutation_kl(STUDENT[0], TEACHER[0], weights)
    np.testing.assert_allclose(value, expected, rtol=1e-10)


def test_top_one_is_the_first_choice_and_a_lower_bound(x64):
    loss = jax.jit(losses.permutation_kl_loss, static_argnames=("method", "top_k"))
    first = loss(STUDENT, TEACHER, method="top_one")
    np.testing.assert_allclose(first, loss(STUDENT, TEACHER, top_k=1), rtol=1e-12)
    assert 0 < first < loss(STUDENT, TEACHER)


@pytest.mark.parametrize("method", ["exact", "sampled", "top_one"])
def test_cross_entropy_adds_what_the_student_cannot_change(x64, method):
    @functools.partial(jax.jit, static_argnums=1)
    @jax.value_and_grad
    def loss(student, cross_entropy):
        return losses.permutation_kl_loss(
            student, jnp.asarray(TEACHER), method=method, cross_entropy=cross_entropy,
            key=jax.random.key(0), position_weights=jnp.array([1.0, 2.0, 1.0, 0.5, 1.0]),
        )  # fmt: skip

    cross, cross_gradient = loss(STUDENT, True)
    kl, gradient = loss(STUDENT, False)
    assert cross > kl + 0.1
    np.testing.assert_allclose(cross_gradient, gradient, atol=1e-12)


@pytest.mark.parametrize("method", ["exact", "sampled", "top_one", "listmle"])
def test_absent_items_are_items_that_are_not_there(x64, method):
    @jax.jit
    def loss(student, teacher, where=None):
        if method == "listmle":
            return losses.listmle_loss(student, teacher, where=where)
        return losses.permutation_kl_loss(
            student, teacher, method=method, where=where, num_samples=20_000, key=jax.random.key(1)
        )

    student, teacher = STUDENT[0].copy(), TEACHER[0].copy()
    student[1] = teacher[1] = 1e6
    kept = [0, 2, 3, 4]
    value = loss(student, teacher, np.arange(5) != 1)
    tolerance = 0.05 if method == "sampled" else 1e-10
    np.testing.assert_allclose(value, loss(student[kept], teacher[kept]), rtol=tolerance)


def test_sampled_is_unbiased_in_value_and_gradient():
    student, teacher = (jnp.asarray(x[0], jnp.float32) for x in (STUDENT, TEACHER))

    def sampled(student, key):
        return losses.permutation_kl_loss(
            student, teacher, method="sampled", num_samples=1, key=key
        )

    keys = jax.random.split(jax.random.key(2), 4096)
    found = jax.jit(jax.vmap(jax.value_and_grad(sampled), (None, 0)))(student, keys)
    exact = EXACT(student, teacher)
    for samples, expected in zip(found, exact, strict=True):
        error = np.std(samples, axis=0) / np.sqrt(len(keys))
        assert (np.abs(np.mean(samples, axis=0) - expected) < 4 * error + 1e-6).all()
        assert (error > 0).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 50), st.floats(1, 1e3), st.integers(1, 4))
def test_no_scale_of_scores_breaks_the_exact_loss(seed, alpha, length, beta):
    rng = np.random.default_rng(seed)
    distances = rng.uniform(0, length, size=(2, 6)) * rng.choice([1e-3, 1], size=(2, 6))
    student, teacher = (jnp.asarray(-alpha * d**beta, jnp.float32) for d in distances)
    value, gradient = EXACT(student, teacher)
    assert np.isfinite(value)
    assert value >= -1e-4
    assert np.isfinite(gradient).all()
    # A choice moves no more than one item's worth of probability; there are six.
    assert np.abs(gradient).max() <= 6 + 1e-3


EXACT = jax.jit(jax.value_and_grad(losses.permutation_kl_loss))


def test_ties_far_below_the_best_keep_their_probability():
    teacher = jnp.array([0.0, -1e9, -1e9, -1e9])
    student = jnp.array([0.0, -1e9, -2e9, -1e9])
    value, gradient = EXACT(student, teacher)
    # After the first, three ties: the one the student puts last is drawn first, second or third,
    # each one third; it costs 1e9 where others remain.
    np.testing.assert_allclose(value, 1e9 * 2 / 3, rtol=1e-5)
    np.testing.assert_allclose(gradient.sum(), 0, atol=1e-5)


def test_the_tail_of_the_teacher_is_not_lost(x64):
    teacher, student = jnp.array([0.0, -80.0]), jnp.array([0.0, -700.0])
    value = losses.permutation_kl_loss(student, teacher)
    np.testing.assert_allclose(value, np.exp(-80.0) * 620, rtol=2e-3)


@pytest.mark.parametrize("beta", [1, 3])
@pytest.mark.parametrize("length", [1.0, 30.0, 1e3])
@pytest.mark.parametrize("alpha", [0.1, 3.0, 50.0])
def test_scores_of_any_size_give_what_logarithms_of_every_permutation_give(alpha, length, beta):
    rng = np.random.default_rng(17)
    # Near duplicates as well: differences of very unlike size in one list.
    distances = rng.uniform(0.2, 1, size=(2, 5)) * length
    distances[:, 3] = distances[:, 1] + 1e-3 * rng.uniform(size=2)
    student, teacher = np.float32(-alpha * distances**beta)
    value, gradient = EXACT(jnp.asarray(student), jnp.asarray(teacher))
    expected, expected_gradient = reference.permutation_kl_and_gradient(student, teacher)
    np.testing.assert_allclose(value, expected, rtol=2e-5, atol=3e-7)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (
            lambda s, t: losses.permutation_kl_loss(jnp.ones([32, 20]), jnp.ones([32, 20])),
            r"student_scores: got lists of 20, expected at most 16 .* 2 GiB",
        ),
        (
            lambda s, t: losses.darkrank_soft_loss(s, t[:-1]),
            r"teacher_embeddings: got shape \[8, 6\], expected \[batch, teacher_dim\] with batch=9",
        ),
        (
            lambda s, t: losses.darkrank_soft_loss(s, t, method="fast"),
            "method: got 'fast', expected one of 'exact', 'sampled', 'top_one'",
        ),
        (
            lambda s, t: losses.darkrank_soft_loss(s, t, method="sampled"),
            'key: got None, expected a value since method is "sampled"',
        ),
        (lambda s, t: losses.darkrank_hard_loss(s, t, num_anchors=10), "num_anchors: got 10"),
        (lambda s, t: losses.darkrank_hard_loss(s, t, list_size=0), "list_size: got 0"),
        (
            lambda s, t: losses.triplet_loss(s, jnp.ones(9)),
            "labels: got an array of float32, expected integer type",
        ),
        (
            lambda s, t: checks.check_arrays(embeddings=([[1.0]], "float", "batch dim")),
            "embeddings: got list, expected an array of float type",
        ),
        (lambda s, t: losses.rkd_angle_loss(s[0], t), r"student_embeddings: got shape \[4\]"),
        (
            # As users call it: this test run's type checker refuses it first.
            lambda s, t: inspect.unwrap(reductions.apply_reduction)("mean", s, s > 0),
            "reduce_fn: got 'mean', expected None or a function of the values",
        ),
        (
            lambda s, t: losses.attention_transfer_loss([s, s], [t]),
            "teacher_maps: got 1 maps, expected 2",
        ),
        (lambda s, t: losses.embedding_match_loss(s, t), "with batch=9, dim=4"),
    ],
)
def test_wrong_input_is_named_before_tracing_ends(call, line):
    student, teacher = unlabelled_batch()
    with pytest.raises((ValueError, TypeError), match=line):
        jax.eval_shape(lambda: call(student, teacher))
