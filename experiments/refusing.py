"""Errors of users, for commands of their own."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from darkrank_jax.errors import UserError


@contextmanager
def refusing() -> Iterator[None]:
    """Turns what the user can fix into a line and exit code 2, as the main command does."""
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
