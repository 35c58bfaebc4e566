"""What `pip install darkrank-jax` leaves out, and how a missing library is reported."""

import importlib.util
from collections.abc import Iterable

from darkrank_jax.errors import UserError

# Extra -> the modules of requirements.txt and requirements-export.txt that it brings.
EXTRAS = {
    "train": (
        "absl",
        "cv2",
        "flatbuffers",
        "flax",
        "fsspec",
        "importlib_resources",
        "jaxtyping",
        "matplotlib",
        "ml_collections",
        "optax",
        "orbax",
        "PIL",
        "safetensors",
        "simplejpeg",
        "sklearn",
        "tensorboardX",
        "tensorflow_datasets",
        "threadpoolctl",
        "tqdm",
    ),
    "export": ("faiss", "onnx", "onnxruntime", "pyarrow"),
}


class MissingExtra(UserError, ImportError):
    """A library that an extra of this package brings is not installed."""


def missing(modules: Iterable[str]) -> list[str]:
    """Those of some modules that are not installed."""
    return [name for name in modules if importlib.util.find_spec(name) is None]


def install(modules: Iterable[str]) -> str:
    """The command that installs some of the modules in `EXTRAS`.

    Example:
      >>> install(["onnx", "pyarrow"])
      'pip install "darkrank-jax[export]"'
    """
    extras = [extra for extra, names in EXTRAS.items() if not {*names}.isdisjoint(modules)]
    return f'pip install "darkrank-jax[{",".join(extras)}]"'


def check_train(name: str) -> None:
    """Raises `MissingExtra` where the extra `train` is not installed.

    Args:
      name: what needs it, to begin the error with.
    """
    if lacking := missing(EXTRAS["train"]):
        raise MissingExtra(f"{name}: needs {', '.join(lacking)}; run `{install(lacking)}`")
