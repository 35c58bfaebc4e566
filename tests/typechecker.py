"""Beartype as the test run uses it."""

import collections
import inspect

import jaxtyping
from beartype import BeartypeConf, beartype

# An int may stand for a float, as type checkers have it.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
_jaxtyped = jaxtyping.jaxtyped
_made = collections.Counter()


def jaxtyped(*, typechecker):
    """`jaxtyping.jaxtyped` for functions with something to check.

    A function inside a function is decorated at every call of the outer one, which takes longer
    than to trace it: the first four are checked.
    """
    decorate = _jaxtyped(typechecker=typechecker)

    def decorate_if_worthwhile(function):
        if inspect.isfunction(function):
            _made[function.__code__] += 1
            if not function.__annotations__ or _made[function.__code__] > 4:
                return function
        return decorate(function)

    return decorate_if_worthwhile
