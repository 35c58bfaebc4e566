"""Which folders can be compared is known by their names and results alone."""

import pytest

from darkrank_jax.errors import UserError
from darkrank_jax.runs.finished import check_finished


def test_two_folders_with_results_are_finished_runs_and_others_are_refused(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    (first / "results.json").touch()
    with pytest.raises(UserError, match=r"^--mode compare: must have two runs or more \(got 1\)"):
        check_finished([first])
    with pytest.raises(UserError, match="b: must be the folder of a finished run"):
        check_finished([first, second])
    second.mkdir()
    with pytest.raises(UserError, match=r"b: has no results\.json, so no run was finished there"):
        check_finished([first, second])
    (second / "results.json").touch()
    check_finished([first, second])
