"""Defaults and recipes of runs: the files of `configs/` in a checkout, which a wheel holds too."""

import ast
import re
from pathlib import Path

__all__ = ["FOLDER", "names", "topics"]

_INSTALLED = Path(__file__).parent / "configs"
# Of the files. A wheel holds them here; its parent holds nothing else that could be imported.
FOLDER = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "configs"
# So that `from darkrank_jax.configs import default` finds them.
__path__ = [str(FOLDER)]


def names() -> list[str]:
    """The names of the configs, which `load_config` and `--config` take.

    Example:
      >>> {"default", "demo", "own_images"} <= set(names())
      True
    """
    return sorted(path.stem for path in FOLDER.glob("*.py"))


def topics() -> dict[str, tuple[str, bool]]:
    """What each config is about, and whether it needs a data set, by the docstring of its file.

    Returns:
      By name, the beginning of the first line, and whether the docstring says where data lies.

    Example:
      >>> topics()["demo"], topics()["omniglot"]
      (('Built-in characters', False), ('Omniglot', True))
    """
    texts = {name: (FOLDER / f"{name}.py").read_text(encoding="utf-8") for name in names()}
    heads = {name: ast.get_docstring(ast.parse(text)) or "" for name, text in texts.items()}
    return {
        name: (head.partition(":")[0], bool(re.search(r"\bDIR\b|DARKRANK_DATA", head)))
        for name, head in heads.items()
    }
