"""A run as nested plain values, as run.json holds it: written, checked and read back."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from darkrank_jax.config.fields import check_fields, field_types
from darkrank_jax.config.names import check_file_name
from darkrank_jax.config.reader import check_numbers
from darkrank_jax.config.run import HOLDERS, Data, Evaluation, Run, Weights
from darkrank_jax.errors import UserError
from darkrank_jax.models import MODELS, model_options


def describe(run: Run) -> dict[str, Any]:
    """What is trained, as nested plain values, as `run.json` holds it."""
    values = dataclasses.asdict(run) | {"teacher": describe(run.teacher) if run.teacher else {}}
    # What is measured afterwards, and who hears of it, changes nothing of what was trained.
    del values["evaluation"], values["hook"]
    return values


def without_removed(described: Mapping[str, Any]) -> dict[str, Any]:
    """A description without fields that earlier versions had, where they changed no result.

    Example:
      >>> without_removed({"steps": 3, "expected_minutes": 2.0, "chunk_losses": False})
      {'steps': 3}
    """
    inert = {"expected_minutes", *(() if described.get("chunk_losses") else ("chunk_losses",))}
    kept = {name: value for name, value in described.items() if name not in inert}
    for name, value in kept.items():
        if name == "teacher" and value:
            kept[name] = without_removed(value)
        elif name == "ensemble" and value:
            kept[name] = {member: without_removed(each) for member, each in value.items()}
    return kept


def check_description(described: Mapping[str, Any], path: Path, advice: str) -> None:
    """Refuses fields of `describe`, read back from a file, that are not of a run.

    Args:
      described: of a run, its teachers and members within it.
      path: of the file.
      advice: what to do, to end the error with.

    Raises:
      UserError: names the file and the first field with a wrong type, value or name; fields that
        are missing or surplus are left to `read_description`.
    """
    try:
        _check_described(_tuples(described), "run")
    except UserError as error:
        raise UserError(f"{path}: {error}; {advice}") from error


def read_description(described: Mapping[str, Any], where: object) -> Run:
    """The run that `describe` wrote, for its network's sake: without teacher and baseline.

    Args:
      described: "run" of run.json.
      where: it lies, for the error.

    Returns:
      The run.

    Raises:
      UserError: a field is missing or surplus, since another version wrote it, or a number is out
        of its range.
    """
    values = _tuples(without_removed(described))
    # It decided how the network was trained, not what it computes.
    values.pop("chunk_losses", None)
    nothing = Evaluation(
        networks={}, datasets={}, split="test", save_embeddings=False, protocols={}, distractors={}
    )
    own = {"teacher": None, "ensemble": {}, "baseline": {}, "evaluation": nothing}
    try:
        parts = {"data": Data(**values["data"]), "weights": Weights(**values["weights"])}
        run = Run(**values | parts | own)
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{where}: was trained by another version ({error}); train it again, or use that one"
        ) from error
    try:
        check_numbers(run, "run.")
    except UserError as error:
        raise UserError(f"{where}: run.json is altered ({error}); train it again") from error
    return run


def _check_described(values: Any, where: str) -> None:
    """The checks of `check_description` for one run."""
    # That of an ensemble's member is None where there is none, all others are empty.
    types = field_types(Run) | dict.fromkeys(HOLDERS, dict) | {"teacher": dict | None}
    _check_known(values, types, where)
    parts = {name: types[name] for name in ("teacher", "ensemble", "baseline")}
    check_fields({n: values[n] for n in parts if n in values}, parts, where, required=[*parts])
    for name, holder in HOLDERS.items():
        _check_known(values.get(name, {}), field_types(holder), f"{where}.{name}")
    for name, member in values.get("ensemble", {}).items():
        check_file_name(name, f"{where}.ensemble")
        check_fields({name: member}, {name: dict}, f"{where}.ensemble", required=[])
        _check_described(member, f"{where}.ensemble.{name}")
    if values.get("teacher"):
        _check_described(values["teacher"], f"{where}.teacher")
    for field in ("losses", "baseline"):
        for name, loss in values.get(field, {}).items():
            check_fields({name: loss}, {name: dict}, f"{where}.{field}", required=[])
    for field in ("data.sampler", "model", "optimizer", "schedule"):
        holder, _, name = field.rpartition(".")
        part = (values.get(holder, {}) if holder else values).get(name, {"name": ""})
        check_fields({"name": part.get("name")}, {"name": str}, f"{where}.{field}", required=[])
    model = values.get("model", {})
    if model.get("name") in MODELS:
        options = {"name": str} | model_options(model["name"])
        check_fields(model, options, f"{where}.model", required=["embedding_dim"])


def _check_known(values: Mapping[str, Any], types: Mapping[str, Any], where: str) -> None:
    """Checks the types of those fields that have one."""
    known = {name: value for name, value in values.items() if name in types}
    check_fields(known, types, where, required=[])


def _tuples(value: Any) -> Any:
    """Lists, which is what JSON makes of tuples, as tuples again."""
    if isinstance(value, Mapping):
        return {name: _tuples(each) for name, each in value.items()}
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value
