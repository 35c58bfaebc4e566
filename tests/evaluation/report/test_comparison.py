"""The page on several runs: its headline, its seeds, and all its networks."""

import re

from darkrank_jax.evaluation.report.comparison import (
    combine,
    comparison_headline,
    seeds_section,
    write_comparison,
)
from tests.evaluation.report.made import (
    ATTACK,
    CLASSES,
    SECTIONS,
    Page,
    curves_of,
    measured_set,
    network,
    run_results,
)


def three_runs():
    """Runs of one teacher: two seeds of one student, and another student that is better."""
    runs = {}
    for name, seed, student, loss in [
        ("a", 0, 0.5, "triplet"),
        ("b", 1, 0.54, "triplet"),
        ("c", 0, 0.7, "darkrank_soft"),
    ]:
        runs[name] = run_results(baseline=0.4 + seed / 100, student=student)
        runs[name] |= {"name": name, "seed": seed}
        runs[name]["networks"]["student"]["losses"] = {loss: {"weight": 1.0}}
    return runs


def test_a_comparison_names_the_best_and_lists_a_shared_network_once():
    combined = combine(three_runs())
    names = ["a/teacher", "a/baseline", "a/student", "b/baseline", "b/student", "c/student"]
    assert list(combined["networks"]) == names
    assert combined["subjects"] == ["a/student", "b/student", "c/student"]
    sentence = comparison_headline(combined)
    assert sentence == (
        "Of 3 runs’ students, c/student is best, with a Recall@1 of 70.0\xa0% on 12 characters "
        "that no network trained on: +20.0 points against a/student."
    )
    found = {"difference": 0.2, "low": 0.125, "high": 0.25, "p_value": 0.01}
    combined["networks"]["c/student"]["difference"] = {"recall_at_1": found}
    assert "+20.0 points (+12.5 to +25.0) against a/student" in comparison_headline(combined)
    runs = three_runs()
    del runs["c"]
    runs["b"]["networks"]["student"]["metrics"]["recall_at_1"] = 0.25
    found = comparison_headline(combine(runs))
    # The baseline of the second run, which is worse than the best student.
    assert found == (
        "No other student is better than a/student, with a Recall@1 of 50.0\xa0% on 12 characters "
        "that no network trained on; b/student has 25.0\xa0%."
    )


def test_a_comparison_does_not_hide_that_baselines_are_better():
    runs = three_runs()
    for name, recall in (("a", 0.6), ("b", 0.72), ("c", 0.71)):
        runs[name]["networks"]["baseline"] = network(recall)
    combined = combine(runs)
    better = " Better still is b/baseline, trained alone, with 72.0\xa0%."
    assert comparison_headline(combined).endswith(f"against a/student.{better}")
    del runs["c"]
    runs["b"]["networks"]["student"]["metrics"]["recall_at_1"] = 0.25
    assert comparison_headline(combine(runs)).endswith(f"b/student has 25.0\xa0%.{better}")


def test_runs_of_one_network_each_are_called_networks():
    runs = three_runs()
    for name, recall in (("a", 0.6), ("b", 0.7), ("c", 0.2)):
        runs[name]["networks"] = {"network": network(recall)}
    assert comparison_headline(combine(runs)).startswith("Of 3 runs’ networks, b/network is best,")


def test_seeds_of_one_config_are_put_together():
    section = seeds_section(combine(three_runs())["networks"])
    rows = [re.sub("<[^>]*>", " ", row).split() for row in re.findall("<tr>.*?</tr>", section)]
    (row,) = (row for row in rows if row[0] == "student")
    # .50 and .54: mean 52, standard deviation 2.8; leads of .10 and .13 over the baselines.
    assert row[:9] == ["student", "a,", "b", "2", "0,", "1", "52.0", "±", "2.8"]
    assert row[-6:-3] == ["+11.5", "±", "2.1"]
    runs = three_runs()
    del runs["b"]
    assert seeds_section(combine(runs)["networks"]) == ""


def test_the_page_of_a_comparison_is_whole(tmp_path):
    combined = combine(three_runs())
    names = list(combined["networks"])
    path = tmp_path / "report.html"
    measured = {"test": measured_set(names, class_names=(ATTACK,) * CLASSES)}
    write_comparison(path, ATTACK, {"test": combined}, measured=measured, curves=curves_of(names))
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert re.findall(r"<h2 [^>]*>(.*?)</h2>", text) == ["Results", "Over seeds", *SECTIONS[1:]]
    assert page.names.count("script") == 1
    titles = re.findall(r"<h3><bdi>(.*?)</bdi>", text)
    assert titles[0] == "a/teacher right, c/student wrong"
    assert titles[2] == "c/student and a/teacher right, a/student wrong"
    # The baselines are in the charts above the table, which are of Recall@1 and MAP@R.
    charts = [svg["aria-label"] for svg in page.all("svg") if svg.get("role") == "img"]
    for chart in charts[:5]:
        assert [name for name in names if name in chart] == names, chart
    write_comparison(path, "x", {"test": combined}, measured={}, curves={})
    bare = path.read_text(encoding="utf-8")
    assert "Nearest images" not in bare
