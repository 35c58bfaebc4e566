"""The headline says what was found, also where that is nothing good."""

import pytest

from darkrank_jax.evaluation.report import headline
from tests.evaluation.report.made import network, run_results


@pytest.mark.parametrize(
    ("recalls", "words"),
    [
        (
            {},
            "The student has 1/8 of the teacher’s parameters, is 5.2 times as fast, and recovers "
            "43 % of the gap in Recall@1 between the same network trained alone (50.0 %) and the "
            "teacher (80.0 %) on 12 characters that no network trained on.",
        ),
        (
            {"student": 0.45},
            ", but is worse than the same network trained alone: Recall@1 of 45.0 % against 50.0 %",
        ),
        ({"student": 0.5}, ", but is no better than the same network trained alone: both have"),
        (
            {"student": 0.85},
            "and is better than the same network trained alone: Recall@1 of 85.0 % against 50.0 %, "
            "and better than the teacher, at 80.0 %,",
        ),
        ({"teacher": 0.4}, "62.9 % against 50.0 %; the teacher, at 40.0 %, left no gap to recover"),
        ({"baseline": None}, "and reaches a Recall@1 of 62.9 % where the teacher reaches 80.0 %"),
        (
            {"teacher": None},
            "The student is better than the same network trained alone: Recall@1 of 62.9 % against",
        ),
        ({"teacher": None, "student": 0.4}, "The student is worse than the same network"),
        (
            {"student": None},
            "The baseline has 1/8 of the teacher’s parameters, is 5.2 times as fast",
        ),
        (
            {"baseline": None, "student": None},
            "The teacher reaches a Recall@1 of 80.0 % on 12 characters",
        ),
    ],
)
def test_the_headline_says_what_was_found(recalls, words):
    assert words.replace(" %", "\xa0%") in headline(run_results(**recalls))


def test_the_headline_takes_the_best_of_several_students_and_says_so():
    results = run_results()
    results["networks"]["soft"] = network(0.7, gap_recovered={"recall_at_1": 2 / 3})
    assert headline(results).startswith("The best of 2 students, soft, has 1/8")
    assert "recovers 67\xa0% of the gap" in headline(results)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parameters": 3375}, "has 42\xa0% of the teacher’s parameters"),
        ({"parameters": 16200}, "has 200\xa0% of the teacher’s parameters"),
        ({"images_per_second": 500.0}, "is slower (0.50 times as fast)"),
        ({"model": {"name": "resnet10", "width": 9}}, "between the baseline (50.0\xa0%)"),
    ],
)
def test_the_headline_does_not_flatter(changes, words):
    results = run_results()
    results["networks"]["student"] |= changes
    assert words in headline(results)


def test_the_headline_calls_training_classes_seen():
    results = run_results()
    results["dataset"] |= {"split": "train", "source": "cars196"}
    assert headline(results).endswith("on 12 classes of the training set.")
