"""A run's hook: hands what a run logs, validates and finds to a tracker of the user's."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from darkrank_jax.errors import UserError
from darkrank_jax.import_path import current_folder_last

METHODS = ("on_log", "on_validation", "on_end")


@runtime_checkable
class Hook(Protocol):
    """What a run reports to, in its first process alone; docs/guides/track.md has three."""

    def on_log(self, step: int, values: dict[str, float], /) -> Any:
        """Takes a network's mean metrics since the last call: "student/loss" and others."""

    def on_validation(self, step: int, values: dict[str, float], /) -> Any:
        """Takes a network's scores: "student/validation/recall_at_1" and others."""

    def on_end(self, results: dict[str, Any], /) -> Any:
        """Takes the contents of results.json; {} where no split with labels was measured."""


def make_hook(given: Any, factory: str, workdir: Path, config: Mapping[str, Any]) -> Hook | None:
    """The hook of a run.

    Args:
      given: from Python; None: nothing.
      factory: `hook` of the config: MODULE.NAME of a function of `workdir` and `config`, which
        returns a hook. The module may lie in the current folder.
      workdir: of the run.
      config: of the run, as nested plain values.

    Returns:
      The hook; None where neither names one.

    Raises:
      UserError: both do, the factory cannot be imported or fails, or a method is missing.
    """
    if given is not None and factory:
        raise UserError(
            f"hook: must come from Python or from the config (got an object and {factory!r}); "
            "leave one out"
        )
    hook = _call_factory(factory, workdir, config) if factory else given
    if hook is None:
        return None
    lacking = [name for name in METHODS if not callable(getattr(hook, name, None))]
    if lacking:
        raise UserError(
            f"hook: must have {', '.join(METHODS)} (got {type(hook).__name__}, which lacks "
            f"{', '.join(lacking)}); add what is missing"
        )
    return hook


def call_hook(hook: Hook | None, method: str, *arguments: Any, advice: str) -> UserError | None:
    """Calls a method of a hook.

    Args:
      hook: None: nothing is called.
      method: in METHODS.
      *arguments: of the method.
      advice: what to do where it fails, to end the error with.

    Returns:
      What it raised, as an error that names the hook; None where it raised nothing.

    Example:
      >>> call_hook(None, "on_end", {}, advice="fix it")
    """
    if hook is None:
        return None
    try:
        getattr(hook, method)(*arguments)
    # A user's program may raise anything.
    except Exception as error:
        failure = UserError(f"hook: {type(hook).__name__}.{method} raised {_said(error)}; {advice}")
        failure.__cause__ = error
        return failure
    return None


def named(network: str, values: Mapping[str, float]) -> dict[str, float]:
    """The values of one network of a run, each with the network's name before its own.

    Example:
      >>> named("teacher's first", {"loss": 0.5})
      {'teacher/first/loss': 0.5}
    """
    prefix = network.replace("'s ", "/")
    return {f"{prefix}/{name}": value for name, value in values.items()}


def _call_factory(factory: str, workdir: Path, config: Mapping[str, Any]) -> Any:
    """What a factory returns."""
    module, _, name = factory.rpartition(".")
    if not module:
        raise UserError(
            f"hook: must be MODULE.NAME of a function of workdir and config (got {factory!r}); "
            "name its module too"
        )
    advice = "give MODULE.NAME of a function of workdir and config"
    try:
        with current_folder_last():
            function = getattr(importlib.import_module(module), name)
            return function(workdir, config)
    # A user's module may raise anything.
    except Exception as error:
        raise UserError(f"hook: {factory} raised {_said(error)}; {advice}") from error


def _said(error: Exception) -> str:
    """The kind and the text of an error, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".removesuffix(": ").split())
