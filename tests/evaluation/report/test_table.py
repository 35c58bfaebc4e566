"""The table holds every number, and a dash where there is none."""

import re

from darkrank_jax.evaluation.report.table import results_section
from tests.evaluation.report.made import run_results


def cells(results):
    """The texts of the table's rows, by their groups and headings."""
    rows, group = {}, ""
    for row in re.findall(r"<tr.*?</tr>", results_section(results)):
        first, *values = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)
        values = [re.sub(r"<small>(.*?)</small>", r" | \1", value) for value in values]
        group = first if 'class="group"' in row else group
        rows[group, first] = values
    return rows


def test_the_table_holds_every_number():
    rows = cells(run_results())
    assert rows["Quality, in %", "Recall@1"] == [
        "80.0 | 74.0–85.0",
        "50.0 | 44.0–55.0",
        "62.9 | 56.9–67.9",
    ]
    assert rows["Quality, in %", "NMI"] == ["75.0"] * 3
    lead = ["", "", "+12.9 | +2.5 to +20.0 | p = .034"]
    assert rows["Lead over the baseline, in points", "Recall@1"] == lead
    assert rows["Gap recovered", "Recall@1"] == ["", "", "43\xa0%"]
    assert rows["Gap recovered", "MAP@R"] == ["", "", "−12\xa0%"]
    assert rows["Cost", "Parameters"] == ["8,100", "1,000", "1,000"]
    assert rows["Cost", "Images/s"] == ["1,000", "5,200", "5,200"]
    assert rows["Cost", "Steps"] == ["600"] * 3
    assert rows["Cost", "Training time"] == ["2.1\xa0min"] * 3


def test_the_table_has_a_dash_where_there_was_no_gap_and_no_group_without_gaps():
    assert cells(run_results(teacher=0.4))["Gap recovered", "Recall@1"] == ["", "", "–"]
    assert "Gap recovered" not in results_section(run_results(baseline=None))
