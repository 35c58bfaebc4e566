"""The map: which images it takes, where it puts them, and what its points tell."""

import re

import numpy as np

from darkrank_jax.evaluation.report.embedding_map import choose, layout, map_section
from tests.evaluation.report.made import IMAGES, measured_set, values_of


def test_the_map_takes_whole_classes_but_no_single_image():
    labels = np.array([0, 1, 1, 2, 2, 2, 3, 3])
    chosen = choose(labels, points=100, seed=3)
    assert sorted(chosen.tolist()) == [1, 2, 3, 4, 5, 6, 7]
    few = choose(labels, points=1, seed=3)
    assert len(set(labels[few])) == 1
    assert len(choose(np.zeros(50, int), points=100, seed=0)) == 20


def test_the_map_keeps_neighbours_together_and_fills_the_square():
    labels = np.repeat(np.arange(4), 20)
    embeddings = 50 * np.eye(4)[labels] + np.random.default_rng(0).normal(size=(80, 4))
    places = layout(embeddings, seed=0)
    assert places.min(axis=0).tolist() == [0, 0]
    assert places.max(axis=0).tolist() == [1, 1]
    assert values_of(places, labels)["recall_at_1"].mean() == 1
    np.testing.assert_array_equal(layout(np.ones((9, 3)), seed=0), 0.5)


def test_a_point_of_the_map_tells_its_image():
    measured = measured_set(["teacher", "student"])
    section = map_section(measured, ["teacher", "student"], seed=1)
    chosen = choose(measured.labels, 480, seed=1)
    points = re.findall(
        r'aria-label="(class \d+), nearest image (right|wrong)" data-image', section
    )
    assert len(points) == 2 * IMAGES
    for network, half in (("teacher", points[:IMAGES]), ("student", points[IMAGES:])):
        verdicts = measured.right(network)[chosen]
        assert [verdict == "right" for _, verdict in half] == verdicts.tolist()
        assert [name for name, _ in half] == [measured.class_name(i) for i in chosen.tolist()]
    # The keyboard enters each map once.
    assert section.count('tabindex="0"') == 2
    assert map_section(measured._replace(labels=np.arange(IMAGES)), ["student"], seed=1) == ""
