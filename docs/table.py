"""Fills the tables of losses.md: formulas and sources from the docstrings, the rest by hand.

python -m docs.table
"""

import inspect
import re
from pathlib import Path

from darkrank_jax import losses

PAGE = Path(__file__).parent / "losses.md"
# | `name_loss` | when | cost | formula | source |
ROW = re.compile(r"^\| `(\w+_loss)` \|([^|]*)\|([^|]*)\|.*\|$", re.MULTILINE)


def fill(page: str) -> str:
    """The page with the formula and source of every loss that has a row."""
    return ROW.sub(_row, page)


def _row(match: re.Match[str]) -> str:
    name, when, cost = match.groups()
    formula, source = _said(name)
    cells = (f" `{name}` ", when, cost, f" `{formula}` ", f" {source} ")
    return f"|{'|'.join(cells)}|"


def _said(name: str) -> tuple[str, str]:
    """Formula and source of a loss: its docstring's second paragraph, its last up to the year."""
    paragraphs = (inspect.getdoc(getattr(losses, name)) or "").split("\n\n")
    formula = " ".join(paragraphs[1].split()).replace("|", "\\|")
    source = re.match(r"Source: (.*?\b(?:19|20)\d\d\)?)", " ".join(paragraphs[-1].split()))
    return formula, source[1] if source else ""


if __name__ == "__main__":
    PAGE.write_text(fill(PAGE.read_text()))
