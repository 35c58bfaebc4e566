"""Masks of rows, pairs and triplets against loops."""

import jax
import jax.numpy as jnp
import numpy as np

from darkrank_jax.losses import masks

ANCHORS, LABELS = 5, np.array([2, 0, 2, 1, 0, 2, 2])
COUNTS = np.array([1, 1, 0, 1, 1, 1, 1], bool)


def test_label_masks_and_triplets_are_those_of_loops():
    positives, negatives = masks.label_masks(jnp.asarray(LABELS), jnp.asarray(COUNTS), ANCHORS)
    others = [[a != b and COUNTS[a] and COUNTS[b] for b in range(7)] for a in range(ANCHORS)]
    same = [[LABELS[a] == LABELS[b] for b in range(7)] for a in range(ANCHORS)]
    np.testing.assert_array_equal(positives, np.logical_and(others, same))
    np.testing.assert_array_equal(negatives, np.logical_and(others, np.logical_not(same)))
    found = masks.triplet_mask(positives, negatives)
    expected = [
        (a, p, n)
        for a in range(ANCHORS)
        for p in range(7)
        for n in range(7)
        if positives[a, p] and negatives[a, n]
    ]
    assert list(map(tuple, np.argwhere(found).tolist())) == expected


def test_masked_rows_hold_zero_and_the_teacher_has_no_gradient():
    x, y = np.random.default_rng(0).normal(size=(2, 7, 3)).astype(np.float32)
    x[2] = y[2] = np.nan

    def both(x, y):
        student, teacher, _ = masks.teacher_student_rows(x, y, jnp.asarray(COUNTS), None)
        return (student * teacher).sum(), (student, teacher)

    slopes, (student, teacher) = jax.grad(both, argnums=(0, 1), has_aux=True)(x, y)
    for rows, given in ((student, x), (teacher, y)):
        np.testing.assert_array_equal(rows, np.where(COUNTS[:, None], given, 0))
    np.testing.assert_array_equal(slopes[0], teacher)
    assert not slopes[1].any()


def test_logsumexp_of_an_empty_mask_is_far_below_all_others():
    logits, mask = jnp.array([[1.0, 2.0, 5.0]] * 2), jnp.array([[True, True, False], [False] * 3])
    found = masks.masked_logsumexp(logits, mask)
    np.testing.assert_allclose(found[0], np.log(np.exp(1) + np.exp(2)), rtol=1e-6)
    assert found[1] < -1e29
    assert np.isfinite(found[1])


def test_weights_are_those_of_the_anchors():
    weights = jnp.arange(7, dtype=jnp.float16)
    rows = jnp.ones((7, 2))
    given = masks.labelled_pairs(rows, jnp.asarray(LABELS), None, weights, 3)
    assert given[3].tolist() == [0, 1, 2]
    assert given[3].dtype == jnp.float32
    assert masks.anchor_weights(None, 3) is None
