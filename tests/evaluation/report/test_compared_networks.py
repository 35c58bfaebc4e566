"""Which networks the pictures compare."""

import pytest

from darkrank_jax.evaluation.report.compared_networks import compared_networks, students


def networks(**recalls):
    return {name: {"metrics": {"recall_at_1": recall}} for name, recall in recalls.items()}


@pytest.mark.parametrize(
    ("recalls", "expected"),
    [
        ({"teacher": 0.9, "baseline": 0.5, "a": 0.6, "b": 0.7}, ("b", "teacher", "baseline")),
        ({"baseline": 0.8, "a": 0.6}, ("a", None, "baseline")),
        ({"teacher": 0.9, "baseline": 0.5}, ("baseline", "teacher", None)),
        ({"teacher": 0.9}, ("teacher", None, None)),
    ],
)
def test_the_best_student_is_compared_with_teacher_and_baseline(recalls, expected):
    compared = compared_networks(networks(**recalls))
    assert tuple(compared) == expected
    subject, *rivals = expected
    assert compared.rivals() == [name for name in rivals if name]
    assert compared.among({"a", subject, "baseline"})[-1] == subject


def test_all_but_teacher_and_baseline_are_students():
    assert students(["small", "teacher", "baseline", "large"]) == ["small", "large"]
