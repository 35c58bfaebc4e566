"""Golden cases of evaluations by other implementations."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parent.parent / "golden"
CASES = json.loads((GOLDEN / "cases.json").read_text())["evaluation"]


def golden_cases(kind):
    """Tests of all cases of a kind: "retrieval", "clustering" or "reid"."""
    cases = [case for case in CASES if case.rsplit("_", 1)[0] == kind]
    assert cases
    return pytest.mark.parametrize("case", cases)


def check_golden(case: str, compute: Callable) -> None:
    """Every stored value of a case is what a function of its arrays computes under its name."""
    with np.load(GOLDEN / "evaluation.npz") as golden:
        arrays = {
            name.removeprefix(f"{case}/"): golden[name]
            for name in golden.files
            if name.startswith(f"{case}/")
        }
    expected = set(arrays) - set(CASES[case]["inputs"])
    assert "value" in expected
    found = compute(arrays)
    for name in expected:
        # They were computed in float32, by differences of numbers around 1.
        atol = 1e-6 if name == "reranked_distances" else 0
        np.testing.assert_allclose(found[name], arrays[name], rtol=1e-5, atol=atol, err_msg=name)
