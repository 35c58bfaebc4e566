"""What the command line says of itself, and to who calls it wrongly."""

import re
import subprocess
import sys

import pytest

import darkrank_jax
from darkrank_jax import main as command_line
from darkrank_jax.cli.modes import MODES
from darkrank_jax.configs import names
from tests.command import CONFIG, refusal


def test_refuses_what_is_no_command(capsys, tmp_path):
    or_help = ", or --help for all that there is"
    assert (
        refusal(capsys)
        == f"--config: must be a config, NAME or FILE (got nothing); give one{or_help}"
    )
    said = refusal(capsys, "--mode=search", "--query=a.png", "--gallery=g.npz")
    assert (
        said
        == f"--workdir: must be that of a run for --mode search (got nothing); give one{or_help}"
    )
    said = refusal(capsys, "--config.steps=3")
    assert said.startswith("--config.steps=3: is a field of no config; give --config NAME")
    assert refusal(capsys, CONFIG, "extra").startswith("extra: no flag; give --config")
    assert refusal(capsys, CONFIG, "--config.seed", "3", "x").startswith(
        "x: no flag; give --config"
    )


# Each is wrong by itself, whatever its config holds.
WRONG = {
    ("--config=no.py",): "--config: no file, name or module 'no.py'; valid: cars196_half, ",
    ("--config=.", "--wokdir=x"): "--config: no file, name or module '.'; valid: cars196_half, ",
    (CONFIG, "--wokdir=x"): "--wokdir: unknown flag; did you mean 'workdir'?",
    (CONFIG, "-m", "train"): "--m: unknown flag; valid: accelerator, append, config, ",
    (CONFIG, "--mode=tarin"): "--mode: unknown mode 'tarin'; did you mean 'train'?",
    (CONFIG, "--mode="): "--mode: unknown mode ''; valid: compare, embed, ",
    (CONFIG, "--mode=plan", "--coordinator=auto"): (
        "--coordinator: --mode plan is for one process; leave it out"
    ),
    (CONFIG, "--mode=eval", "--nearest=3"): "--nearest: is no flag of --mode eval; leave it out",
    (CONFIG, "--mode=plan", "--devices=few"): "flag --devices=few: invalid literal for int()",
    (
        CONFIG,
        "--mode=search",
        "--query=a",
    ): "--gallery: must be given with --mode search (got nothing)",
    (CONFIG, "--mode=compare", "a", "b"): "--config: is not for --mode compare; give the workdirs",
    (
        "--mode=export",
    ): "--workdir: must be that of a run for --mode export (got nothing); give one, or ",
    ("--workdir=w", "--config.seed=3"): "--config.seed=3: is a field of no config; give --config",
    ("--workdir=w", "--processes=two"): "flag --processes=two: invalid literal for int()",
    (
        "--workdir=w",
        "--mode=prepare",
    ): "--config: must be a config, NAME or FILE (got nothing); give one, or --help",
}


@pytest.mark.parametrize(("arguments", "line"), WRONG.items())
def test_a_wrong_flag_is_refused(capsys, arguments, line):
    assert refusal(capsys, *arguments).startswith(line)


# Whatever takes long to import, or is no part of the standard library but absl.
LIGHT = """
import sys, time
from darkrank_jax import main
codes = [main.main(["darkrank", *arguments]) for arguments in {!r}]
heavy = sys.modules.keys() & {{"jax", "numpy", "flax", "cv2", "orbax", "ml_collections", "sklearn"}}
print(codes, sorted(heavy), time.process_time())
"""


def test_help_version_and_wrong_flags_import_nothing_heavy():
    wrong = [["--help"], ["--version"], *map(list, WRONG)]
    done = subprocess.run(
        [sys.executable, "-c", LIGHT.format(wrong)], capture_output=True, text=True, check=True
    )
    *_, last = done.stdout.splitlines()
    codes, heavy, seconds = re.fullmatch(r"(\[.*?\]) (\[.*?\]) (.*)", last).groups()
    assert codes == str([0, 0, *[2] * len(WRONG)])
    assert heavy == "[]"
    assert float(seconds) < 1


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
    for name, mode in MODES.items():
        head, first, *_ = said[said.index(f"\n--mode {name}") + 1 :].splitlines()
        assert head.split()[2] in ("--config", "--workdir", "DIR")
        assert mode.text.startswith(first.strip())
        assert all(f"--{flag.name}" in said for flag in mode.flags)
    assert "--query=QUERY (needed)" in said
    listed = said[said.index("Configs by name:") : said.index("Modes, and")]
    assert listed.split(":")[1].replace(",", "").split() == names()
    assert "--nearest=10\n          how many to show" in said


def test_help_into_a_pipe_that_closes_ends_quietly():
    command = f"{sys.executable} -m darkrank_jax.main --help | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: darkrank")


def test_says_its_version(capsys):
    assert command_line.main(["main", "--version"]) == 0
    assert capsys.readouterr().out == f"darkrank_jax {darkrank_jax.__version__}\n"
