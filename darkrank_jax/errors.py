"""The one error a user can cause, and how a wrong name is turned into a helpful line."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can fix: one line that names what is wrong, where, and what to do.

    `darkrank_jax.main` prints the line and exits with code 2; any other exception is a bug.
    """


def nearest(name: str, valid: Iterable[str]) -> str:
    """Names the valid name nearest to a wrong one, or lists the valid names.

    Args:
      name: what the user wrote.
      valid: the names that would have been right.

    Returns:
      A clause to end an error line with.

    Example:
      >>> nearest("alhpa", ["alpha", "beta"])
      "did you mean 'alpha'?"
      >>> nearest("x", ["beta", "alpha"])
      'valid: alpha, beta'
    """
    valid = sorted(valid)
    close = difflib.get_close_matches(name, valid, n=1)
    return f"did you mean {close[0]!r}?" if close else f"valid: {', '.join(valid)}"
