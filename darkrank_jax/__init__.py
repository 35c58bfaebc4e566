"""Distil large metric-learning networks into small ones: DarkRank and beyond, in JAX.

`from darkrank_jax import losses` needs jax alone; everything else needs requirements.txt.
"""

# Not from typing: `python -m darkrank_jax.main` imports this while a typing.py of the current
# folder would still be found.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from darkrank_jax.inference.load import LoadedRun, load_run

__all__ = ["LoadedRun", "load_run"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Loads what users of a trained network need when they ask for it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from darkrank_jax.inference import load as loaded

    return getattr(loaded, name)
