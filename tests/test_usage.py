"""What the command line says of itself, and to who calls it wrongly."""

import inspect

import darkrank_jax
from darkrank_jax import main as command_line
from darkrank_jax.modes import MODES
from tests.command import CONFIG, refusal


def test_refuses_what_is_no_command(capsys, tmp_path):
    or_help = ", or --help for all that there is"
    assert refusal(capsys) == f"--config: missing; give --config configs/NAME.py{or_help}"
    said = refusal(capsys, "--mode=search", "--query=a.png", "--gallery=g.npz")
    assert said == f"--workdir: missing; --mode search needs that of a run{or_help}"
    said = refusal(capsys, "--config.steps=3")
    assert said.startswith("--config.steps=3: is a field of no config; give --config configs/NAME")
    assert (
        refusal(capsys, "--config", "no.py")
        == "--config: no file 'no.py'; give one of configs/*.py"
    )
    assert refusal(capsys, CONFIG, "extra").startswith("extra: no flag; give --config")
    assert "Unknown command line flag 'wokdir'" in refusal(capsys, CONFIG, "--wokdir=x")
    assert "value should be one of" in refusal(capsys, CONFIG, "--mode=tarin")
    said = refusal(capsys, CONFIG, "--mode=plan", "--coordinator=auto")
    assert said == "--coordinator: --mode plan is for one process; leave it out"


def test_refuses_a_workdir_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    said = refusal(capsys, CONFIG, f"--workdir={tmp_path / 'file' / 'w'}")
    assert said.startswith(f"{tmp_path / 'file' / 'w' / 'teacher'}: cannot be written (")


def test_help_names_every_mode_and_flag_at_80_columns(capsys):
    for spelling in ("--help", "-h", "--helpfull"):
        # Even beside what is wrong.
        assert command_line.main(["main", "--mode=export", spelling, "--config=no.py"]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    # Each is followed by what it is for.
    for mode, function in MODES.items():
        head, first, *_ = said[said.index(f"--mode {mode}") :].splitlines()
        assert head.split()[2] in ("--config", "--workdir", "DIR")
        assert function.__doc__.startswith(first.strip())
    for name in inspect.signature(MODES["search"]).parameters:
        assert f"--{name}" in said
    assert "--query=QUERY (needed)" in said
    assert "--nearest=10\n          how many to show" in said


def test_says_its_version(capsys):
    assert command_line.main(["main", "--version"]) == 0
    assert capsys.readouterr().out == f"darkrank_jax {darkrank_jax.__version__}\n"
