"""Files that the command reads back, emptied, cut and garbled: one line, never a traceback."""

import json
import random

import pytest

from darkrank_jax import main as command_line
from darkrank_jax.config.description import describe
from darkrank_jax.errors import UserError
from darkrank_jax.runs import compare, evaluate
from darkrank_jax.training.network import check_recorded
from tests.command import CONFIG

FILES = ["results.json", "run.json", "teacher/run.json", "metrics.jsonl"]
# Written in place of a value, so that its type is another.
OTHERS = [None, True, -3, 2.5, "x\x1b[2J\nforged", [], [[None]], {}, {"a": 1}, 10**30]


@pytest.fixture
def outcome(finished, copy, tmp_path, monkeypatch, capsys):
    """The exit codes and lines of the commands that read a run; what they then do is left out."""

    def reached(*arguments, **more):
        raise UserError("nothing was found wrong")

    def load(run, splits, workdir, mesh):
        check_recorded(describe(run), workdir)
        return {}

    monkeypatch.setattr(evaluate, "load", load)
    monkeypatch.setattr(evaluate, "evaluate", reached)
    monkeypatch.setattr(compare, "write_comparison", lambda *arguments, **more: None)
    monkeypatch.setattr(compare, "measured_dataset", lambda *arguments: None)

    def commands():
        capsys.readouterr()
        for arguments in (
            ["--mode=eval", f"--workdir={copy}"],
            [CONFIG, f"--workdir={copy}"],
            ["--mode=compare", str(finished), str(copy), f"--workdir={tmp_path / 'c'}"],
        ):
            code = command_line.main(["main", *arguments])
            yield code, capsys.readouterr().err.splitlines()

    return commands


def check(outcome):
    """Each command ends well or in one line; gives the lines."""
    said = []
    for code, lines in outcome():
        lines = [line for line in lines if line.startswith("error: ")]
        assert (code, len(lines)) in ((0, 0), (2, 1))
        assert not any("\x1b" in line for line in lines)
        said += lines
    return said


@pytest.mark.parametrize("content", [b"", b"null", b"\xff\xfe\x00", b"[" * 99999, "half"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_whole_is_named_in_one_line(outcome, copy, name, content):
    path = copy / name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    said = [line for line in check(outcome) if "nothing was found wrong" not in line]
    # What is cut off a log is what a killed process had not written yet.
    assert any(str(path) in line for line in said) or name == "metrics.jsonl"


NAMES = [
    ("results.json", ("dataset", "name"), "dataset.name: names must be names of files, "),
    ("results.json", ("networks", "student"), "networks: names must be names of files, "),
    ("run.json", ("run", "teacher", "ensemble"), "run.teacher.ensemble: names must be names of "),
]


@pytest.mark.parametrize(("name", "place", "line"), NAMES)
def test_a_name_that_leads_out_of_the_workdir_is_refused(outcome, copy, name, place, line):
    path = copy / name
    value = json.loads(path.read_text(encoding="utf-8"))
    *holders, last = place
    holder = value
    for key in holders:
        holder = holder[key]
    if last == "ensemble":
        holder[last] = {"../../elsewhere": value["run"] | {"teacher": None}}
    elif last == "student":
        holder["../../elsewhere"] = holder.pop(last)
    else:
        holder[last] = "../../elsewhere"
    path.write_text(json.dumps(value), encoding="utf-8")
    assert any(said.startswith(f"error: {path}: {line}") for said in check(outcome))


def leaves(value, place=()):
    """The place of every value in nested ones."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*place, key)
            yield from leaves(inner, (*place, key))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", FILES)
def test_a_value_of_another_type_never_ends_in_a_traceback(outcome, copy, name, seed):
    rng = random.Random(f"{name} {seed}")
    path = copy / name
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines() if name.endswith("l") else [text]
    line = rng.randrange(len(lines))
    value = json.loads(lines[line])
    *holders, last = rng.choice(list(leaves(value)))
    holder = value
    for key in holders:
        holder = holder[key]
    if rng.random() < 0.2 and isinstance(holder, dict):
        del holder[last]
    else:
        holder[last] = rng.choice([x for x in OTHERS if type(x) is not type(holder[last])])
    lines[line] = json.dumps(value)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    check(outcome)
