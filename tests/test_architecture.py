"""docs/architecture.md names what there is."""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text()
PATHS = sorted(set(re.findall(r"`((?:[a-z_]+\.)+[A-Za-z_]+)`", PAGE)))
FILES = {path for path in PATHS if path.endswith(".py")}


@pytest.mark.parametrize("path", sorted({*PATHS} - FILES))
def test_every_name_on_the_page_exists(path):
    module, _, name = path.rpartition(".")
    assert hasattr(importlib.import_module(f"darkrank_jax.{module}"), name)


def test_the_table_has_every_folder_with_the_first_line_of_its_docstring():
    package = ROOT / "darkrank_jax"
    folders = {path.parent for path in package.rglob("__init__.py")} - {package}
    lines = {
        f"| `{folder.relative_to(package).as_posix()}/` | "
        + ast.get_docstring(ast.parse((folder / "__init__.py").read_text())).split("\n")[0]
        + " |"
        for folder in folders
    }
    assert lines == set(re.findall(r"^\| `[a-z/]+/` \|.*$", PAGE, re.MULTILINE))


def test_every_file_on_the_page_exists():
    for name in FILES:
        assert (ROOT / "darkrank_jax" / name).is_file() or (ROOT / name).is_file()
