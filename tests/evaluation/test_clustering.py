import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.clustering import (
    adjusted_mutual_information,
    adjusted_rand_index,
    clustering_metrics,
    grouping_metrics,
    normalized_mutual_information,
    pairwise_f1,
    purity,
)
from tests.evaluation.golden import check_golden, golden_cases
from tests.references import evaluation as reference

FIGURES = (
    normalized_mutual_information,
    adjusted_mutual_information,
    adjusted_rand_index,
    pairwise_f1,
    purity,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 4)), min_size=2, max_size=40))
def test_agrees_with_scikit_learn_and_with_loops(pairs):
    clusters, labels = np.array(pairs).T
    nmi = sklearn.normalized_mutual_info_score(labels, clusters)
    assert normalized_mutual_information(clusters, labels) == pytest.approx(nmi, abs=1e-9)
    ami = sklearn.adjusted_mutual_info_score(labels, clusters)
    assert adjusted_mutual_information(clusters, labels) == pytest.approx(ami, abs=1e-6)
    expected = reference.pairwise_f1(clusters, labels)
    assert pairwise_f1(clusters, labels) == pytest.approx(expected)
    ari = sklearn.adjusted_rand_score(labels, clusters)
    assert adjusted_rand_index(clusters, labels) == pytest.approx(ari, abs=1e-9)
    assert purity(clusters, labels) == pytest.approx(reference.purity(clusters, labels))
    names = ("nmi", "ami", "ari", "pairwise_f1", "purity")
    assert grouping_metrics(clusters, labels) == {
        name: figure(clusters, labels) for name, figure in zip(names, FIGURES, strict=True)
    }


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("groups", [np.arange(6), np.zeros(6, int), np.array([4, 0, 4, 0, 7, 7])])
def test_names_of_groups_do_not_count(figure, groups):
    assert figure(groups, 9 - groups) == pytest.approx(1.0)


def test_kmeans_finds_groups_that_are_apart():
    rng = np.random.default_rng(2)
    labels = rng.permutation(np.repeat(np.arange(6), [3, 9, 20, 5, 7, 16]))
    centres = 10 * np.eye(6)[:, :5] + 1e3
    embeddings = (centres[labels] + rng.normal(size=(60, 5), scale=0.1)).astype(np.float32)
    found = clustering_metrics(embeddings, labels, key=jax.random.key(4))
    assert found == pytest.approx(dict.fromkeys(found, 1.0))


def test_embeddings_at_one_point_share_nothing_with_the_classes():
    """More clusters than points apart: all centres fall together and all but one stay empty."""
    labels = np.array([0, 0, 1, 1, 2])
    found = clustering_metrics(np.ones((5, 3), np.float32), labels, key=jax.random.key(0))
    assert (found["nmi"], found["ami"]) == (0.0, 0.0)


def test_embeddings_that_are_not_finite_are_refused():
    embeddings = np.array([[1.0], [np.inf], [2.0]], np.float32)
    with pytest.raises(UserError, match="1 of 3 rows hold NaN or infinity, first row 1"):
        clustering_metrics(embeddings, np.array([0, 1, 1]), key=jax.random.key(0))


def test_one_class_and_groupings_of_other_length_are_refused():
    with pytest.raises(UserError, match="labels: all 4 embeddings are of one class"):
        clustering_metrics(np.eye(4), np.full(4, 7), key=jax.random.key(0))
    with pytest.raises(
        UserError, match=r"clusters: must have a value for each of 4 labels \(got 3\)"
    ):
        grouping_metrics(np.arange(3), np.arange(4))
    with pytest.raises(UserError, match=r"labels: must have at least one row \(got none\)"):
        grouping_metrics(np.arange(0), np.arange(0))


def golden_clustering(arrays):
    groupings = arrays["clusters"], arrays["labels"]
    figures = (normalized_mutual_information, adjusted_mutual_information, pairwise_f1)
    return {"value": [figure(*groupings) for figure in figures]}


@golden_cases("clustering")
def test_agrees_with_other_implementations(case):
    check_golden(case, golden_clustering)
