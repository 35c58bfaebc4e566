"""Distil large metric-learning networks into small ones: DarkRank and beyond, in JAX.

`from darkrank_jax import losses` needs jax alone; everything else needs the extra `train`.
"""

import sys

from darkrank_jax.version import __version__

# Not from typing: `python -m darkrank_jax.main` imports this while a typing.py of the current
# folder would still be found.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from darkrank_jax.api import Results, compare, embed_outside, evaluate, train
    from darkrank_jax.config.file import load_config
    from darkrank_jax.inference.load import LoadedRun, load_run

__all__ = [
    "LoadedRun",
    "Results",
    "__version__",
    "compare",
    "embed_outside",
    "evaluate",
    "load_config",
    "load_run",
    "train",
]

# Name -> the module that it is imported from when it is used, since each needs more than jax.
_MODULES = {
    "LoadedRun": "inference.load",
    "Results": "api",
    "compare": "api",
    "embed_outside": "api",
    "evaluate": "api",
    "load_config": "config.file",
    "load_run": "inference.load",
    "train": "api",
}


def __getattr__(name: str) -> object:
    """Imports a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


# The parts that need no extra, or report by themselves what they lack.
_ALONE = (
    "cli",
    "configs",
    "digests",
    "errors",
    "extras",
    "files",
    "import_path",
    "losses",
    "main",
    "schema",
    "terminal",
    "version",
)


class _ExtraCheck:
    """Reports the extra that a part of this package lacks, before the part is imported."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Raises `MissingExtra`, or leaves the search to Python's own finders."""
        package, _, rest = name.partition(".")
        if package == __name__ and rest.partition(".")[0] not in _ALONE:
            from darkrank_jax.extras import check_train

            check_train(name)
            sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not self]


sys.meta_path.insert(0, _ExtraCheck())
