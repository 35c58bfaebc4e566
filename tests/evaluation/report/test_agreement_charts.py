"""Rank agreement by length of list."""

from darkrank_jax.evaluation.report.agreement_charts import agreement_section
from darkrank_jax.evaluation.report.compared_networks import compared_networks
from tests.evaluation.report.made import run_results


def test_agreement_is_drawn_by_length_of_list():
    results = run_results()
    section = agreement_section(results, compared_networks(results["networks"]))
    assert "student: 25 at 1, 50 at 10." in section
    assert "student: -0.125 at 10." in section
    assert "K of 59" in section
    assert "student reaches a Recall@1 of 37.5\xa0%" in section
    alone = run_results(teacher=None)
    assert agreement_section(alone, compared_networks(alone["networks"])) == ""
