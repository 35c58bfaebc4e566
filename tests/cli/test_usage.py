"""What the command line says of itself, and to who calls it wrongly."""

import re
import shlex
import subprocess
import sys

import pytest

import darkrank_jax
from darkrank_jax import main as command_line
from darkrank_jax.cli.modes import MODES, SHARED
from darkrank_jax.configs import names
from tests.command import CONFIG, refusal

# Each is wrong by itself, whatever its config holds.
WRONG = {
    (): "--config: must be given with --mode train (got nothing); --mode train --help has an exam",
    ("--config.steps=3",): "--config.steps=3: is a field of no config; give --config NAME",
    ("--workdir=w", "--config.seed=3"): "--config.seed=3: is a field of no config; give --config",
    (CONFIG, "extra"): "extra: is not a flag; give --config, --config.FIELD, --workdir or --mode",
    (CONFIG, "--config.seed", "3", "x"): "x: is not a flag; give --config",
    ("compare", "runs/a", "runs/b"): "compare: is not a flag; did you mean --mode compare?",
    (CONFIG, "eval"): "eval: is not a flag; did you mean --mode eval?",
    ("--config=no.py",): "--config: no file, name or module 'no.py'; give the path of a config",
    ("--config=no/such",): "--config: no file, name or module 'no/such'; give the path of a",
    ("--config=.", "--wokdir=x"): "--config: no file, name or module '.'; valid: cars196_half, ",
    (CONFIG, "--wokdir=x"): "--wokdir: unknown flag; did you mean '--workdir'?",
    (CONFIG, "-m", "train"): "--m: unknown flag; did you mean '--mode'?",
    (CONFIG, "--mode=tarin"): "--mode: unknown name 'tarin'; did you mean 'train'?",
    (CONFIG, "--mode=train,eval"): "--mode: unknown name 'train,eval'; did you mean 'train'?",
    (CONFIG, "--mode="): "--mode: unknown name ''; valid: compare, embed, ",
    ("--mode", "trian", "--help"): "--mode: unknown name 'trian'; did you mean 'train'?",
    (CONFIG, "--mode=plan", "--coordinator=auto"): (
        "--coordinator: --mode plan is for one process; leave it out"
    ),
    (CONFIG, "--mode=plan", "--processes=2"): "--processes: --mode plan is for one process; leave",
    (CONFIG, "--processes=2", "--process=2"): "--process: must be less than --processes 2 (got 2)",
    (CONFIG, "--mode=eval", "--nearest=3"): (
        "--nearest: is a flag of --mode search, not of eval; leave it out"
    ),
    (CONFIG, "--mode=search", "--query=a"): (
        "--workdir, --gallery: must be given with --mode search (got nothing); --mode search --help"
    ),
    ("--mode=embed",): "--workdir, --images, --output: must be given with --mode embed (got nothi",
    (CONFIG, "--mode=compare", "a", "b"): "--config: is not for --mode compare; give the workdirs",
    ("--mode=export",): "--workdir: must be given with --mode export (got nothing)",
    ("--mode=eval",): "--workdir: must be given with --mode eval (got nothing)",
    ("--workdir=w", "--mode=prepare"): "--config: must be given with --mode prepare (got nothing)",
    ("--mode=compare", "a"): "--mode compare: must have two runs or more (got 1); give their",
    ("--mode=compare", "no/a", "b"): "no/a: must be the folder of a finished run (got a path with",
    ("--mode=export", "--workdir=no/w"): (
        "--workdir: must be the folder of a trained run (got no/w, which does not exist); give"
    ),
    ("--mode=eval", "--workdir=no/w"): "--workdir: must be the folder of a trained run (got no/w,",
    (CONFIG, "--mode=sweep", "--seeds=0 one"): "--seeds: must be whole numbers from 0 with spaces",
    (CONFIG, "--mode=sweep", "--grid=steps"): "--grid: steps has no values; give --grid",
    (CONFIG, "--mode=plan", "--accelerator=h10"): "--accelerator: unknown name 'h10'; did you",
    ("--mode=export", "--formats=onnx,onxx"): "--formats: unknown name 'onxx'; did you mean 'onnx'",
    ("--mode=embed", "--index=hnws"): "--index: unknown name 'hnws'; did you mean 'hnsw'?",
    ("--mode=embed", "--index=hnsw,ivf_pq"): "--index: unknown name 'hnsw,ivf_pq'; ",
    ("--mode=embed", "--output=a.csv"): (
        "--output: must be a file that ends in .npz or .parquet or .faiss (got a.csv); give another"
    ),
    ("--mode=search", "--output=a.npz"): "--output: must be a file that ends in .html or .csv",
    ("--mode=search", "--gallery=g.txt"): "--gallery: must be a file that ends in .npz or",
    ("--mode=embed", "--images="): "--images: must be a name or path that is not empty (got '')",
    ("--config=",): "--config: must be a name or path that is not empty (got ''); give another",
    (CONFIG, "--workdir="): "--workdir: must be a name or path that is not empty (got '')",
    (CONFIG, "--config.steps=3", "--config.seed=1", "--config.steps", "4"): (
        "--config.steps: must be given once (got 3, 4); leave one out"
    ),
    (CONFIG, "--config.remat", "--noconfig.remat"): (
        "--config.remat: must be given once (got true, false); leave one out"
    ),
    (CONFIG, "--config", "demo"): "--config: must be given once (got /",
}


@pytest.mark.parametrize(("arguments", "line"), WRONG.items(), ids=str)
def test_a_wrong_flag_is_refused(capsys, arguments, line):
    assert refusal(capsys, *arguments).startswith(line)


def flags_with_modes():
    """Each flag with a mode that has it."""
    own = [(name, flag) for name, mode in MODES.items() for flag in mode.flags]
    return own + [("train", flag) for flag in SHARED.values()]


def flags_of_kinds(*kinds):
    found = [(mode, flag) for mode, flag in flags_with_modes() if flag.kind in kinds]
    return pytest.mark.parametrize(("mode", "flag"), found, ids=lambda x: getattr(x, "name", x))


@flags_of_kinds(int, float, bool, str)
def test_a_flag_given_twice_is_refused(capsys, mode, flag):
    value = {bool: "true", str: "a"}.get(flag.kind, "1")
    twice = [f"--{flag.name}={value}", f"--{flag.name}", value]
    if flag.kind is bool:
        twice = twice[:2]
    if flag.name != "mode":
        twice.append(f"--mode={mode}")
    said = refusal(capsys, *twice)
    assert said == f"--{flag.name}: must be given once (got {value}, {value}); leave one out"


@flags_of_kinds(int, float, bool)
def test_a_value_of_another_type_is_refused_in_words(capsys, mode, flag):
    wanted = {int: "a whole number", float: "a number", bool: "true or false"}[flag.kind]
    for value in ["abc", "", "1.5.2", "1e"]:
        said = refusal(capsys, f"--mode={mode}", f"--{flag.name}={value}")
        assert said.startswith(f"--{flag.name}: must be {wanted} (got {value!r}); give another")


@flags_of_kinds(int, float)
def test_a_number_outside_its_range_is_refused(capsys, mode, flag):
    """Every number has a least value; a share is not NaN either."""
    beyond = [flag.least - 1] + ([] if flag.most is None else [flag.most + 1])
    beyond += [-0.1, "nan", "inf"] if flag.kind is float else []
    wanted = f"at least {flag.least}" if flag.most is None else f"from {flag.least} to {flag.most}"
    for value in beyond:
        said = refusal(capsys, f"--mode={mode}", f"--{flag.name}", value)
        assert said.startswith(
            f"--{flag.name}: must be {wanted} (got {flag.kind(value)}); give another"
        )


@flags_of_kinds(int, float, str, tuple)
def test_a_flag_without_a_value_is_refused(capsys, mode, flag):
    line = f"--{flag.name}: must have a value (got nothing); give --{flag.name}={flag.name.upper()}"
    assert refusal(capsys, f"--mode={mode}", f"--{flag.name}") == line
    assert refusal(capsys, f"--{flag.name}", "--workdir=w") == line


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


def said_by(capsys, *arguments):
    """What a help page says."""
    assert command_line.main(["main", *arguments]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    return said


def test_help_names_every_mode_and_flag_at_80_columns(capsys):
    said = {said_by(capsys, spelling) for spelling in ("--help", "-h", "--helpfull")}
    # Even beside what is wrong.
    said.add(said_by(capsys, "--help", "--config=no.py", "--devices=-1"))
    (said,) = said
    # Each is followed by what it is for.
    for name, mode in MODES.items():
        head, first, *_ = said[said.index(f"\n--mode {name}") + 1 :].splitlines()
        assert head.split()[2] in ("--config", "--workdir", "DIR")
        assert mode.text.startswith(first.strip())
        assert all(f"--{flag.name}" in said for flag in mode.flags)
    assert "--query=QUERY (needed)" in said
    assert all(f"  --{name} " in said for name in SHARED)
    listed = said[said.index("Configs by name that need no") : said.index("Modes, and")]
    assert sorted(re.findall(r"^    (\w+)  ", listed, flags=re.MULTILINE)) == names()
    assert "--nearest=10\n          number of images" in said


@pytest.mark.parametrize("mode", MODES)
def test_help_of_a_mode_has_its_flags_and_an_example_alone(capsys, tmp_path, monkeypatch, mode):
    said = said_by(capsys, "--mode", mode, "--help")
    assert said == said_by(capsys, "-h", f"--mode={mode}", "--wokdir=x")
    assert set(re.findall(r"^ +--(\w+)(?=[ =\n])", said, flags=re.MULTILINE)) == {
        *(flag.name for flag in MODES[mode].flags),
        *(SHARED.keys() - {"mode", *({"config"} if mode == "compare" else ())})
        - ({"coordinator", "processes", "process"} if not MODES[mode].shared else set()),
    }
    assert not any(f"\n--mode {other} " in f"\n{said}" for other in MODES if other != mode)
    for run in ("runs/demo", "runs/a", "runs/b"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "results.json").touch()
    monkeypatch.chdir(tmp_path)
    command = command_line.parse(shlex.split(said.splitlines()[-1]))
    assert command.mode == mode


def test_help_into_a_pipe_that_closes_ends_quietly():
    command = f"{sys.executable} -m darkrank_jax.main --help | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: darkrank")


def test_says_its_version(capsys):
    assert command_line.main(["main", "--version"]) == 0
    assert capsys.readouterr().out == f"darkrank_jax {darkrank_jax.__version__}\n"
