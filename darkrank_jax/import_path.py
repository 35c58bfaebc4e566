"""Where modules of users are looked for: the current folder, last, and only when it is wanted."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def current_folder_last() -> Iterator[None]:
    """Lets the block import modules of the current folder that no installed package shadows.

    The folder may hold files of others, such as a `pyarrow.py`, which must not run because a
    command was started there.
    """
    try:
        folder = os.getcwd()
    except FileNotFoundError:
        folder = ""
    added = bool(folder) and folder not in sys.path
    if added:
        sys.path.append(folder)
    try:
        yield
    finally:
        if added and folder in sys.path:
            sys.path.remove(folder)
