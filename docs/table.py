"""Fills the tables of losses.md: formulas of the family pages, sources of the docstrings.

python -m docs.table
"""

import inspect
import re
from pathlib import Path

from darkrank_jax import losses

PAGE = Path(__file__).parent / "losses.md"
# | [`name_loss`](its section) | when<br>formula | cost | source |
ROW = re.compile(
    r"^\| \[`(\w+_loss)`\]\([^)]*\) \|([^|<]*)(?:<br>[^|]*)?\|([^|]*)\|[^|]*\|$", re.MULTILINE
)
SECTION = re.compile(r"^## `(\w+_loss)`$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
FORMULA = re.compile(r"^\$\$\n(.*?)\n\$\$$", re.MULTILINE | re.DOTALL)


def sections() -> dict[str, tuple[str, str]]:
    """Each loss's family, and the first formula of its section there, on one line."""
    return {
        name: (page.stem, " ".join(FORMULA.findall(text)[0].split()))
        for page in sorted((PAGE.parent / "losses").glob("*.md"))
        for name, text in SECTION.findall(page.read_text(encoding="utf-8"))
    }


def fill(page: str) -> str:
    """The page with section, formula and source of every loss that has a row."""
    known = sections()

    def row(match: re.Match[str]) -> str:
        name, when, cost = match.groups()
        family, formula = known[name]
        link = f" [`{name}`](losses/{family}.md#{name}) "
        use = f"{when.rstrip()}<br>${formula}$ "
        return f"|{'|'.join((link, use, cost, f' {source(name)} '))}|"

    return ROW.sub(row, page)


def source(name: str) -> str:
    """The source of a loss: its docstring's last paragraph up to the year."""
    last = (inspect.getdoc(getattr(losses, name)) or "").split("\n\n")[-1]
    found = re.match(r"Source: (.*?\b(?:19|20)\d\d\)?)", " ".join(last.split()))
    return found[1] if found else ""


if __name__ == "__main__":
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
