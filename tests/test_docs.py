"""The code on the pages that users copy from."""

import re
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_a_page_runs_from_top_to_bottom(page):
    blocks = BLOCK.findall(page.read_text())
    assert blocks
    # Readers have JAX's own setting.
    with jax.numpy_rank_promotion("allow"):
        exec(compile("\n".join(blocks), page.name, "exec"), {"__name__": page.stem})
