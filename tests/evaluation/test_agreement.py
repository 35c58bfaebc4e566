import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation import agreement as module
from darkrank_jax.evaluation.agreement import (
    cross_recall,
    rank_agreement,
)
from darkrank_jax.evaluation.retrieval import retrieval_metrics
from tests.references import evaluation as reference

KS = (1, 2, 4, 9)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(12)
    teacher = rng.normal(size=(30, 5)).astype(np.float32)
    return teacher[:, :3] + 0.5 * rng.normal(size=(30, 3)).astype(np.float32) + 20, teacher


def test_agrees_with_loops(data):
    student, teacher = data
    assert rank_agreement(student, teacher, ks=KS) == pytest.approx(
        reference.rank_agreement(student, teacher, KS), abs=1e-6
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_agrees_with_loops_where_many_are_at_the_same_distance(seed):
    """Teachers on a line at places that leave no tie, where a list has its members."""
    rng = np.random.default_rng(seed)
    teacher = rng.permutation(2.0 ** np.arange(8))[:, None]
    student = rng.integers(0, 3, size=(8, 1)).astype(np.float64)
    found = rank_agreement(student, teacher, ks=(1, 3, 7))
    assert found == pytest.approx(reference.rank_agreement(student, teacher, (1, 3, 7)), abs=1e-6)


def test_neither_the_order_of_rows_nor_the_size_of_tiles_counts(data, monkeypatch):
    student, teacher = (np.concatenate([rows, rows[:6]]) for rows in data)
    expected = rank_agreement(student, teacher, ks=KS)
    monkeypatch.setattr(module, "QUERIES", 7)
    order = np.random.default_rng(1).permutation(36)
    assert rank_agreement(student[order], teacher[order], ks=KS) == pytest.approx(expected)


def test_a_student_like_its_teacher_agrees_and_one_at_a_point_does_as_chance_would(data):
    _, teacher = data
    turned = teacher[:, ::-1] * 3 - 8
    assert rank_agreement(turned, teacher, ks=KS) == pytest.approx(
        dict.fromkeys(rank_agreement(turned, teacher, ks=KS), 1.0)
    )
    point = rank_agreement(np.ones((30, 2)), teacher, ks=(5,))
    assert point["overlap_at_5"] == pytest.approx(5 / 29)
    assert point["kendall_tau_at_5"] == point["spearman_at_5"] == 0.0


def test_lists_longer_than_the_set_are_left_out(data):
    student, teacher = data
    assert set(rank_agreement(student, teacher, ks=(1, 29, 30))) == {
        "overlap_at_1",
        "overlap_at_29",
        "kendall_tau_at_29",
        "spearman_at_29",
    }


def test_cross_recall_searches_the_other_networks_gallery(data):
    _, teacher = data
    labels = np.arange(30) % 8
    queries = teacher + np.random.default_rng(0).normal(size=teacher.shape, scale=0.5)
    expected = reference.cross_recall(queries, teacher, labels, KS)
    assert cross_recall(queries, teacher, labels, ks=KS) == pytest.approx(expected)
    alone = retrieval_metrics(teacher, labels, ks=KS)
    assert cross_recall(teacher, teacher, labels, ks=KS) == {k: alone[k] for k in expected}
    # With the queries in the gallery each finds itself.
    assert cross_recall(teacher, teacher, labels, labels, ks=(1,)) == {"recall_at_1": 1.0}


@pytest.mark.parametrize(
    ("measure", "line"),
    [
        (
            lambda s, t: rank_agreement(s[1:], t),
            "student: 29 embeddings are not of the teacher's 30 images; embed the same images",
        ),
        (
            lambda s, t: rank_agreement(np.where(s > 21, np.nan, s), t),
            "student: ",
        ),
        (lambda s, t: rank_agreement(s[:1], t[:1]), "ks: no list of () images can be had from 1"),
        (
            lambda s, t: cross_recall(s, t, np.arange(30)),
            "dimensions differ (queries 3, gallery 5)",
        ),
        (
            lambda s, t: cross_recall(t, t, np.arange(30), np.arange(30) + 50),
            "labels: no query has an image of its class in the gallery; give one",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(data, measure, line):
    with pytest.raises(UserError) as error:
        measure(*data)
    assert str(error.value).startswith(line)
