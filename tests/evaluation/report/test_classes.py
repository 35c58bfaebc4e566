"""The worst classes, and what they are taken for."""

import re

import numpy as np

from darkrank_jax.evaluation.report import Measured
from darkrank_jax.evaluation.report.classes import classes_section
from darkrank_jax.evaluation.report.compared_networks import ComparedNetworks
from tests.evaluation.report.made import values_of


def test_the_worst_class_comes_first_with_what_it_is_taken_for():
    labels = np.array([0, 0, 1, 1, 2, 2, 3])
    places = np.array([0.0, 1.0, 50.0, 90.0, 52.0, 53.0, 49.0])
    embeddings = {"student": places[:, None]}
    values = {"student": values_of(embeddings["student"], labels)}
    images = np.zeros((7, 4, 4, 1), np.uint8)
    measured = Measured(labels, tuple("abcd"), embeddings, values, images)
    section = classes_section(measured, ComparedNetworks("student"))
    rows = [re.sub("<[^>]*>", " ", row).split() for row in re.findall("<tr>.*?</tr>", section)]
    # b: its image at 50 is nearest to 49 of class d, that at 90 to 53 of class c.
    assert rows[1][:4] == ["b", "2", "0.0", "0.0"]
    assert rows[1][4:] in (["c", "1", "of", "2"], ["d", "1", "of", "2"])
    assert rows[2:] == [["a", "2", "100.0", "100.0", "–"], ["c", "2", "100.0", "100.0", "–"]]
