"""The code on the pages that users copy from."""

import re
from pathlib import Path

import jax
import pytest

from darkrank_jax import losses
from docs import table

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [page for page in sorted((ROOT / "docs").rglob("*.md")) if BLOCK.search(page.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_a_page_runs_from_top_to_bottom(page):
    blocks = BLOCK.findall(page.read_text())
    # Readers have JAX's own setting.
    with jax.numpy_rank_promotion("allow"):
        exec(compile("\n".join(blocks), page.name, "exec"), {"__name__": page.stem})


def test_every_loss_has_a_row_with_what_its_docstring_says():
    page = table.PAGE.read_text()
    assert table.fill(page) == page, "run python -m docs.table"
    rows = [row[1] for row in table.ROW.finditer(page)]
    assert sorted(rows) == sorted(name for name in losses.__all__ if name.endswith("_loss"))
    assert all(cell.strip() for row in table.ROW.finditer(page) for cell in row.groups())
