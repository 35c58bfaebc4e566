"""Marks of tests that take long."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def slow_but(quick: Iterable[Any] | Callable[[Any], bool], cases: Iterable[Any]) -> list[Any]:
    """Cases of `pytest.mark.parametrize`, of which only the quick ones are not slow.

    Args:
      quick: cases, or what says whether a case is quick.
      cases: values, or tuples of the values of several arguments.
    """
    is_quick = quick if callable(quick) else set(quick).__contains__
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=() if is_quick(case) else pytest.mark.slow,
        )
        for case in cases
    ]
