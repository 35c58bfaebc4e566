"""Where modules of users are looked for: last, and only when it is wanted."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def folders_last(*folders: str) -> Iterator[None]:
    """Lets the block import modules of some folders that no installed package shadows.

    Args:
      *folders: which are searched after everything else, in this order.
    """
    added = [folder for folder in dict.fromkeys(folders) if folder and folder not in sys.path]
    sys.path.extend(added)
    try:
        yield
    finally:
        for folder in added:
            if folder in sys.path:
                sys.path.remove(folder)


@contextmanager
def current_folder_last() -> Iterator[None]:
    """Lets the block import modules of the current folder that no installed package shadows.

    The folder may hold files of others, such as a `pyarrow.py`, which must not run because a
    command was started there.
    """
    with folders_last(current_folder()):
        yield


def current_folder() -> str:
    """The current folder; empty where it was deleted."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""
