"""Where a config is that somebody names: a file, one of the package's, or a module."""

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from darkrank_jax import configs
from darkrank_jax.errors import UserError, nearest
from darkrank_jax.import_path import current_folder, folders_last


def find_config(source: str, field: str = "config") -> str:
    """The path of a config's file, or the name of its module.

    Args:
      source: path of a file; or, where there is no such file, NAME or configs/NAME.py of one that
        the package has; or else a module that can be imported from the current folder.
      field: what an error begins with.

    Raises:
      UserError: there is no such config.

    Example:
      >>> find_config("demo") == str(configs.FOLDER / "demo.py")
      True
      >>> find_config("darkrank_jax.configs.demo")
      'darkrank_jax.configs.demo'
      >>> find_config("dema")
      Traceback (most recent call last):
      darkrank_jax.errors.UserError: config: no file, name or module 'dema'; did you mean 'demo'?
    """
    if Path(source).is_file():
        return source
    for name in configs.names():
        if source in (name, f"configs/{name}.py"):
            return str(configs.FOLDER / f"{name}.py")
    if _is_module(source):
        return source
    known = nearest(name_of(source), configs.names())
    is_path = source.endswith(".py") or "/" in source or "\\" in source
    if is_path and not known.startswith("did you mean"):
        known = "give the path of a config file, or a name that `darkrank --help` lists"
    raise UserError(f"{field}: no file, name or module {source!r}; {known}")


@contextmanager
def importable(source: str) -> Iterator[None]:
    """Lets the block import what a config may: modules of the current folder, and `configs`.

    `configs` is the folder that holds the config, if it has that name; then the current folder's;
    then the package's own. Files of one are found where another has none of that name.

    Args:
      source: of `find_config`.
    """
    holder = Path(os.path.abspath(source)).parent if source.endswith(".py") else Path()
    own = str(holder.parent) if holder.name == "configs" else ""
    with folders_last(own, current_folder(), str(configs.FOLDER.parent)):
        yield


def name_of(source: str) -> str:
    """The name of a config: of its file or module, without folders and packages.

    Example:
      >>> name_of("configs/demo.py"), name_of("darkrank_jax.configs.demo")
      ('demo', 'demo')
    """
    return Path(source).stem if source.endswith(".py") else source.rpartition(".")[2]


def _is_module(source: str) -> bool:
    """Whether a module of that name can be imported."""
    if not all(part.isidentifier() for part in source.split(".")):
        return False
    try:
        with importable(source):
            return importlib.util.find_spec(source) is not None
    except ModuleNotFoundError:
        return False
    # Its package may raise anything, which `load_file` reports.
    except Exception:
        return True
