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


# Modules without a test of their name, and why.
UNTESTED = {"version": "a constant"}
# Tests of the whole program or of the repository, beside the tests of the modules at the root.
WHOLE_PROGRAM = {
    "photographs", "unlabelled",
    "absent_accelerators", "architecture", "bombs", "configs", "docs", "imports", "kills",
    "killed_modes", "lost_places", "notebooks", "packaging", "read_back", "readme",
    "recipes", "style", "tutorials",
}  # fmt: skip
# Tests of what holds for all modules of a folder.
WHOLE_FOLDER = {
    "export/alone", "export/garbled_exports", "export/own_parts", "losses/digits",
    "losses/invariants", "losses/properties",
}  # fmt: skip
TESTS = ROOT / "tests"


def modules_of(package):
    """Paths of modules and, as a folder and its name twice, of packages, without a suffix."""
    for path in package.rglob("*.py"):
        place = path.relative_to(package).with_suffix("")
        if place.name != "__init__":
            yield place.as_posix()
        elif place.parent.name:
            yield (place.parent / place.parent.name).as_posix()


def test_every_module_has_a_test_of_its_name_and_every_test_is_of_a_module():
    found = {
        path.relative_to(TESTS).with_suffix("").as_posix().replace("test_", "")
        for path in TESTS.rglob("test_*.py")
        if "experiments" not in path.parts
    }
    package = ROOT / "darkrank_jax"
    modules = {
        path.relative_to(package).with_suffix("").as_posix()
        for path in package.rglob("*.py")
        if path.stem != "__init__"
    }
    assert modules - found == UNTESTED.keys()
    assert found - set(modules_of(package)) == WHOLE_PROGRAM | WHOLE_FOLDER


def test_tests_use_public_names_of_the_package():
    """The loader's tests alone wait less long than a user would, and see its files."""
    private = r"\b_[a-z]\w*|\b_[A-Z][A-Z_]+\b"
    for path in TESTS.rglob("*.py"):
        if path.parent.name == "loading":
            continue
        text = path.read_text(encoding="utf-8")
        assert not re.findall(r"^ *from darkrank_jax\S* import .*\b_\w+", text, re.MULTILINE), path
        assert not re.findall(r"setattr\((?!sys|os|jax)\w+, \"_[a-zA-Z]", text), path
        modules = {
            node.asname or node.name
            for each in ast.walk(ast.parse(text))
            if isinstance(each, ast.ImportFrom) and (each.module or "").startswith("darkrank_jax")
            for node in each.names
        }
        used = re.findall(rf"\b({'|'.join(modules)})\.({private})", text) if modules else []
        assert not [found for found in used if found[1] not in ("_replace", "_repr_html_")], path


def test_no_test_imports_another_test():
    for path in TESTS.rglob("*.py"):
        found = re.findall(r"^ *from tests\.(?:\w+\.)*test_\w+ import", path.read_text(), re.M)
        assert not found, path
