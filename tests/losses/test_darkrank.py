"""DarkRank on lists of embeddings against lists ranked one by one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax import losses
from darkrank_jax.losses import darkrank
from tests.losses.batches import unlabelled_batch
from tests.losses.golden import check_golden, golden_cases
from tests.references import losses as reference


@pytest.mark.parametrize("soft", [True, False])
def test_darkrank_cut_and_weighted(x64, soft):
    student, teacher = unlabelled_batch()
    options = {"alpha": 0.5, "beta": 1.5, "list_size": 4}
    weights = np.array([1.0, 0.4, 2.5, 9.0])
    lists = reference.ranked_lists(
        np.asarray(student), np.asarray(teacher), alpha=0.5, beta=1.5, ranks=range(4),
        mean_scaled=False,
    )  # fmt: skip
    counted = np.where(np.arange(4) < 3, weights, 0)
    if soft:
        expected = np.mean([reference.weighted_permutation_kl(*pair, counted) for pair in lists])
    else:
        expected = np.mean(
            [
                sum(counted[k] * (np.logaddexp.reduce(s[k:]) - s[k]) for k in range(4))
                for s, _ in lists
            ]
        )
    loss = losses.darkrank_soft_loss if soft else losses.darkrank_hard_loss
    options |= {"top_k": 3, "position_weights": jnp.asarray(weights)}
    found = jax.jit(functools.partial(loss, **options))(student, teacher)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("calibration", ["none", "mean"])
@pytest.mark.parametrize(
    ("selection", "ranks"), [("nearest", [0, 1, 2]), ("stratified", [1, 4, 6])]
)
def test_darkrank_lists_and_scores(x64, selection, ranks, calibration):
    student, teacher = unlabelled_batch()
    options = {
        "alpha": 1.7, "beta": 2.5, "list_size": 3, "list_selection": selection,
        "calibration": calibration,
    }  # fmt: skip
    lists = reference.ranked_lists(
        np.asarray(student), np.asarray(teacher), alpha=1.7, beta=2.5, ranks=ranks,
        mean_scaled=calibration == "mean",
    )  # fmt: skip
    soft = np.mean([reference.permutation_kl(s, t) for s, t in lists])
    hard = np.mean([-reference.log_probability(s, range(3)) for s, _ in lists])
    for loss, expected in ((losses.darkrank_soft_loss, soft), (losses.darkrank_hard_loss, hard)):
        found = jax.jit(functools.partial(loss, **options))(student, teacher)
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_strata_are_drawn_at_random_with_a_key():
    student, teacher = unlabelled_batch()
    loss = functools.partial(losses.darkrank_hard_loss, list_size=3, list_selection="stratified")
    drawn = jax.jit(lambda key: loss(student, teacher, key=key))
    values = {float(drawn(jax.random.key(i))) for i in range(3)}
    assert len(values) == 3


def test_a_duplicate_never_lets_the_query_into_its_own_list(x64):
    teacher = jnp.array([[0.0], [0.0], [5.0]])
    student = jnp.array([[0.0], [2.0], [5.0]])
    of_one = functools.partial(losses.darkrank_hard_loss, alpha=1.0, beta=1.0, list_size=1)
    value = jax.jit(of_one)(student, teacher)
    np.testing.assert_allclose(value, 0, atol=1e-12)  # a list of one has one order
    of_two = functools.partial(losses.darkrank_soft_loss, alpha=1.0, beta=1.0, list_size=2)
    gradient = jax.jit(jax.grad(of_two))(student, teacher)
    assert np.abs(gradient).min() > 0  # the query learns as well


@pytest.mark.parametrize("beta", [1.0, 2.5])
def test_compatible_ranking_is_the_exact_distribution_of_the_scores_in_the_teachers_gallery(beta):
    rng = np.random.default_rng(11)
    student, teacher = rng.normal(size=(2, 7, 3)).astype(np.float32)
    exact, total = jax.jit(losses.permutation_kl_loss), 0.0
    for query in range(7):
        own = np.linalg.norm(teacher[query] - teacher, axis=1)
        nearest = [row for row in np.argsort(own) if row != query][:3]
        across = np.linalg.norm(student[query] - teacher[nearest], axis=1)
        total += exact(-0.7 * across[None] ** beta, -0.7 * own[nearest][None] ** beta)
    loss = functools.partial(losses.compatible_ranking_loss, alpha=0.7, beta=beta, list_size=3)
    np.testing.assert_allclose(jax.jit(loss)(student, teacher), total / 7, rtol=1e-5)


@golden_cases(darkrank)
def test_golden_values_and_gradients(family, case, dtype):
    check_golden(family, case, dtype)
