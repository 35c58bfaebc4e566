"""Every experiment's page has the same parts in the same order."""

import re
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parents[2] / "experiments").glob("*/README.md"))
PARTS = ["Question", "Command", "Setup", "Table", "Verdict", "Reservations"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_a_page_has_all_parts_in_order(page):
    found = re.findall(r"^\*\*(\w+)\.\*\*", page.read_text(), re.MULTILINE)
    first = list(dict.fromkeys(part for part in found if part in PARTS))
    assert first == PARTS


def test_every_experiment_has_a_page():
    folders = {path.parent for path in PAGES[0].parents[1].glob("*/*.py")}
    assert folders == {page.parent for page in PAGES}
