"""Defaults and recipes of runs: the files of `configs/` in a checkout, which a wheel holds too."""

from pathlib import Path

__all__ = ["FOLDER", "names"]

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
