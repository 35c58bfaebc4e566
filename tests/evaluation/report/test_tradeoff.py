"""Speed against quality."""

from darkrank_jax.evaluation.report.tradeoff import tradeoff_section
from tests.evaluation.report.made import run_results


def test_speed_against_quality_needs_two_networks_with_a_cost():
    networks = run_results()["networks"]
    section = tradeoff_section(networks)
    assert "teacher 80.0\xa0% at 1,000; baseline 50.0\xa0% at 5,200" in section
    assert section.count('class="mark-point') == 2 * (3 + 3)  # the key has them too
    assert tradeoff_section({"student": networks["student"]}) == ""
