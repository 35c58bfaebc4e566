"""Checks of what users pass: one line that names the argument, what came and what was expected."""

from collections.abc import Collection
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

_KINDS = {"float": jnp.floating, "integer": jnp.integer, "bool": jnp.bool_, "real": jnp.number}


def check_arrays(**arrays: tuple[Any, str, str]) -> None:
    """Checks kind and shape of arrays; axes of one name must have one size.

    Args:
      **arrays: by argument name, (array or None, kind, axes): the kind is "float", "integer",
        "bool" or "real" (integer or float), the axes are names such as "batch dim", with "..."
        for any number of axes, the same in all arrays.

    Raises:
      TypeError: no array, or one of another kind.
      ValueError: another rank, an axis that disagrees with an earlier argument or is empty.

    Example:
      >>> check_arrays(embeddings=(jnp.ones([4, 2]), "float", "batch dim"),
      ...              labels=(jnp.ones([3], int), "integer", "batch"))
      Traceback (most recent call last):
      ...
      ValueError: labels: got shape [3], expected [batch] with batch=4
    """
    sizes: dict[str, int] = {}
    for name, (array, kind, axes) in arrays.items():
        if array is None:
            continue
        check_kind(name, array, kind)
        _check_shape(name, array.shape, axes, sizes)


def check_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """Checks that `value` is one of `choices`, and static."""
    _check_static(name, value)
    if value not in choices:
        raise ValueError(f"{name}: got {value!r}, expected one of {', '.join(map(repr, choices))}")


def check_range(name: str, value: Any, low: float, high: float = float("inf")) -> None:
    """Checks that a number lies in [low, high]; one that is traced has no value yet."""
    if not isinstance(value, jax.Array) and not low <= value <= high:
        raise ValueError(f"{name}: got {value!r}, expected a number from {low} to {high}")


def check_whole(name: str, value: Any, low: int, high: float = float("inf")) -> None:
    """Checks that a whole number lies in [low, high]; it decides shapes, and so is static."""
    _check_static(name, value)
    if not isinstance(value, Integral) or not low <= int(value) <= high:
        raise ValueError(f"{name}: got {value!r}, expected a whole number from {low} to {high}")


def check_positive(**numbers: Any) -> None:
    """Checks that numbers are above 0; those that are traced have no value yet."""
    for name, value in numbers.items():
        if not isinstance(value, jax.Array) and not value > 0:
            raise ValueError(f"{name}: got {value!r}, expected a number above 0")


def check_flags(**flags: Any) -> None:
    """Checks that arguments are True or False, and static."""
    for name, value in flags.items():
        _check_static(name, value)
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"{name}: got {value!r}, expected True or False")


def check_given(name: str, value: Any, reason: str) -> None:
    """Checks that an argument that is optional elsewhere is there."""
    if value is None:
        raise ValueError(f"{name}: got None, expected a value since {reason}")


def check_width(name: str, array: Any) -> None:
    """Refuses integers of NumPy that JAX would wrap: labels of 64 bits, unless they are enabled.

    Traced values are not known yet, and an array of JAX holds what it was given.
    """
    if not isinstance(array, np.ndarray) or not jnp.issubdtype(array.dtype, jnp.integer):
        return
    own = jax.dtypes.canonicalize_dtype(array.dtype)
    if own == array.dtype or not array.size:
        return
    for value in (array.min(), array.max()):
        if not jnp.iinfo(own).min <= int(value) <= jnp.iinfo(own).max:
            raise ValueError(
                f"{name}: got {value}, expected values that fit into {own}, since JAX wraps "
                f"{array.dtype}; number them by np.unique({name}, return_inverse=True)[1], or "
                "enable jax_enable_x64"
            )


def _check_static(name: str, value: Any) -> None:
    """Refuses an array where the argument decides what is compiled."""
    if isinstance(value, jax.Array):
        kind = "a traced value" if isinstance(value, Tracer) else "an array"
        raise TypeError(
            f"{name}: got {kind}, expected a static one, since it decides what is compiled; give "
            f'static_argnames="{name}" to jax.jit, or bind it by functools.partial'
        )


def check_kind(name: str, array: Any, kind: str) -> None:
    """Checks that `array` is an array of the kind."""
    if not hasattr(array, "dtype"):
        raise TypeError(f"{name}: got {type(array).__name__}, expected an array of {kind} type")
    if not jnp.issubdtype(array.dtype, _KINDS[kind]):
        hint = "; numbers are for weights" if name == "where" else ""
        raise TypeError(f"{name}: got an array of {array.dtype}, expected {kind} type{hint}")
    if kind == "integer":
        check_width(name, array)


def _check_shape(name: str, shape: tuple[int, ...], axes: str, sizes: dict[str, int]) -> None:
    """Checks one shape against the sizes seen so far, and adds its own to them."""
    names = _axis_names(axes, len(shape), sizes)
    known = ", ".join(f"{axis}={sizes[axis]}" for axis in names if axis in sizes)
    fits = len(shape) == len(names) and all(
        sizes.setdefault(axis, size) == size for axis, size in zip(names, shape, strict=True)
    )
    if not fits:
        expected = f"[{', '.join(names)}]" + (f" with {known}" if known else "")
        raise ValueError(f"{name}: got shape {list(shape)}, expected {expected}")
    if 0 in shape:
        raise ValueError(f"{name}: got shape {list(shape)}, expected at least one along each axis")


def _axis_names(axes: str, rank: int, sizes: dict[str, int]) -> list[str]:
    """The names of the axes, "..." written out as in the first array that has it."""
    names = axes.split()
    if "..." not in names:
        return names
    before, after = axes.split("...")
    unnamed = sizes.setdefault("...", rank - len(names) + 1)
    return [*before.split(), *(f"axis{i}" for i in range(unnamed)), *after.split()]
