"""The command line, in this process: what it writes, what it says, and its exit codes."""

import json
import os
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from darkrank_jax import main as command_line
from darkrank_jax.training import loop

CONFIG = f"--config={Path(__file__).parent / 'tiny_config.py'}"
PARTS = ("", "teacher", "baseline")
# One worker takes them all, so that the run they look at is trained once.
pytestmark = pytest.mark.xdist_group("finished")


def run(workdir, *arguments):
    return command_line.main(["main", CONFIG, f"--workdir={workdir}", *arguments])


def newest_params(workdir):
    """Every array of a workdir's newest checkpoint."""
    with ocp.CheckpointManager(
        workdir / "checkpoints", item_handlers={"params": ocp.StandardCheckpointHandler()}
    ) as manager:
        items = manager.restore(
            manager.latest_step(), args=ocp.args.Composite(params=ocp.args.StandardRestore())
        )
        return manager.latest_step(), [np.asarray(leaf) for leaf in jax.tree.leaves(items.params)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The workdir of a whole run that nothing disturbed."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    assert run(workdir) == 0
    return workdir


@pytest.fixture
def copy(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def test_a_run_leaves_results_report_logs_and_checkpoints(finished):
    results = json.loads((finished / "results.json").read_text())
    assert list(results["networks"]) == ["teacher", "baseline", "student"]
    assert results["schema"] == 2
    assert results["dataset"] == {
        "name": "test",
        "source": "glyphs",
        "split": "test",
        "images": 20,
        "classes": 5,
        "queries": 20,
        "queries_alone": 0,
    }
    student = results["networks"]["student"]
    assert set(student["gap_recovered"]) == set(student["metrics"])
    assert all(-1 <= value <= 1 for value in student["metrics"].values())
    assert results["networks"]["teacher"]["parameters"] > student["parameters"]
    assert "<table" in (finished / "report.html").read_text()
    for part in PARTS:
        rows = [json.loads(x) for x in (finished / part / "metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows] == [2, 4, 4, 6, 8, 8]
        assert "validation/recall_at_1" in rows[-1]
        assert newest_params(finished / part)[0] == 8
        assert list((finished / part / "tensorboard").iterdir())
    assert {name for name in rows[0] if name.startswith("losses/")} == {"losses/triplet"}


def test_a_second_run_says_that_it_is_done(finished, capsys):
    before = (finished / "results.json").read_text()
    assert run(finished) == 0
    said = capsys.readouterr().out
    assert f"{finished} is done" in said
    assert "To start again, delete" in said
    assert (finished / "results.json").read_text() == before


def test_eval_gives_the_same_figures_again(copy):
    before = json.loads((copy / "results.json").read_text())
    (copy / "results.json").unlink()
    assert run(copy, "--mode=eval", "--config.evaluation.save_embeddings=true") == 0
    after = json.loads((copy / "results.json").read_text())
    for results in (before, after):
        results.pop("name")
        for network in results["networks"].values():
            assert network.pop("images_per_second") > 0
    assert after == before
    files = sorted(file.name for file in (copy / "embeddings" / "test").iterdir())
    assert files == ["baseline.npz", "images.npz", "student.npz", "teacher.npz"]


CHOSEN = """
from ml_collections import ConfigDict
from tests import tiny_config
def get_config():
    config = tiny_config.get_config().unlock()
    config.evaluation.networks = ConfigDict({networks})
    config.evaluation.datasets = ConfigDict({datasets})
    return config
"""


def chosen(folder, networks, datasets):
    """The flag of a config that evaluates other networks and datasets."""
    path = folder / "chosen.py"
    path.write_text(CHOSEN.format(networks=networks, datasets=datasets))
    return f"--config={path}"


def test_eval_takes_any_checkpoint_and_several_datasets(finished, tmp_path, capsys):
    networks = {"teacher": str(finished / "teacher"), "mine": str(finished)}
    options = {"num_classes": 20, "images_per_class": 4}
    datasets = {
        "again": {"source": "glyphs", "options": options},
        "seen": {"source": "glyphs", "split": "train", "options": options | {"seed": 1}},
    }
    config = chosen(tmp_path, networks, datasets)
    workdir = tmp_path / "w"
    arguments = ["--mode=eval", f"--workdir={workdir}"]
    assert command_line.main(["main", config, *arguments]) == 0
    results = json.loads((workdir / "evaluation" / "results.json").read_text())
    before = json.loads((finished / "results.json").read_text())["networks"]
    assert results["dataset"]["name"] == "again"
    assert results["networks"]["mine"]["metrics"] == before["student"]["metrics"]
    assert results["networks"]["teacher"]["metrics"] == before["teacher"]["metrics"]
    further = results["further_datasets"]["seen"]
    assert further["dataset"]["classes"] == 12
    assert set(further["networks"]) == {"teacher", "mine"}
    page = (workdir / "evaluation" / "report.html").read_text()
    assert "Nearest images on seen" in page
    # Both networks bring their own learning curve.
    assert page.count("Training loss, by step") == 2
    assert "again\n" in capsys.readouterr().out


def test_eval_takes_stored_embeddings_with_cameras(tmp_path):
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 4)
    for name, noise in (("teacher", 0.1), ("student", 0.5)):
        embeddings = np.eye(5)[labels] + noise * generator.normal(size=(20, 5))
        cameras = {"cameras": np.arange(20) % 2}
        np.savez(tmp_path / f"{name}.npz", embeddings=embeddings, labels=labels + 3, **cameras)
    networks = {name: str(tmp_path / f"{name}.npz") for name in ("teacher", "student")}
    config = chosen(tmp_path, networks, {})
    arguments = ["--mode=eval", f"--workdir={tmp_path / 'w'}"]
    assert command_line.main(["main", config, *arguments]) == 0
    results = json.loads((tmp_path / "w" / "evaluation" / "results.json").read_text())
    assert results["dataset"]["source"] == "stored embeddings"
    row = results["networks"]["teacher"]
    assert row["metrics"]["recall_at_1"] == row["reid"]["cmc_at_1"] == 1
    assert "parameters" not in row
    assert "agreement" in results["networks"]["student"]


@pytest.mark.parametrize(
    ("networks", "datasets", "line"),
    [
        ({"a": "nowhere"}, {}, "nowhere: has no run.json, so no run was trained there"),
        ({"a": "no.npz"}, {}, "no.npz: no such file; give an .npz of embeddings"),
        (
            {"a": "x.npz"},
            {"d": {"source": "glyphs"}, "e": {"source": "glyphs"}},
            "evaluation.networks.a: one .npz for 2 datasets; give {dataset: .npz} for d, e",
        ),
        (
            {"a": {"tset": "x.npz"}},
            {"test": {"source": "glyphs"}},
            "evaluation.networks.a: no dataset 'tset'; did you mean 'test'?",
        ),
        ({"a": 3}, {}, "evaluation.networks.a: is 3; give the workdir of a finished run, an .npz "),
        ({"a/b": "x.npz"}, {}, "evaluation.networks: 'a/b' is no name for a file; use letters, "),
        (
            {},
            {"d": {"source": "glyphs", "spilt": "test"}},
            "evaluation.datasets.d.spilt: unknown field; did you mean 'split'?",
        ),
        (
            {},
            {"d": {"source": "glyphs", "split": "tests"}},
            "evaluation.datasets.d.split: is 'tests' (str); give 'train' or 'validation' or 'test'",
        ),
        ({}, {"d": {}}, "evaluation.datasets.d.source: missing; give str"),
        (
            {},
            {"d": {"source": "glyph"}},
            "evaluation.datasets.d.source: unknown name 'glyph'; did you mean 'glyphs'?",
        ),
    ],
)
def test_refuses_an_evaluation_in_one_line(networks, datasets, line, capsys, tmp_path):
    config = chosen(tmp_path, networks, datasets)
    said = refusal(capsys, config, "--mode=eval", f"--workdir={tmp_path / 'w'}")
    assert said.startswith(line)


def test_refuses_stored_embeddings_of_other_images(finished, capsys, tmp_path):
    np.savez(tmp_path / "x.npz", embeddings=np.eye(3), labels=np.array([0, 0, 1]))
    networks = {"a": str(tmp_path / "x.npz"), "b": str(finished)}
    said = refusal(capsys, chosen(tmp_path, networks, {}), "--mode=eval")
    assert said == (
        f"{tmp_path / 'x.npz'}: its 3 labels are not those of the 20 images of 'test'; embed the "
        "same images in their order"
    )


def test_eval_does_not_pass_off_other_data_as_the_runs_own(copy, capsys):
    said = refusal(
        capsys, CONFIG, f"--workdir={copy}", "--mode=eval", "--config.data.options.num_classes=40"
    )
    assert said.endswith(
        "holds a run whose data.options.num_classes is 20, not 40; give its own config; another "
        "dataset goes to evaluation.datasets"
    )


def test_compare_makes_one_page_of_several_runs(finished, copy, tmp_path, capsys):
    """The copy pretends to be of another seed; its embeddings are stored, the first run's not."""
    results = json.loads((copy / "results.json").read_text())
    results["seed"] = 1
    for name in ("baseline", "student"):
        results["networks"][name]["metrics"]["recall_at_1"] += 0.0625
    (copy / "results.json").write_text(json.dumps(results))
    workdir = tmp_path / "compared"
    arguments = [str(finished), str(copy), f"--workdir={workdir}"]
    assert command_line.main(["main", "--mode=compare", *arguments]) == 0
    said = capsys.readouterr().out
    names = ["run/teacher", "run/baseline", "run/student", "copy/baseline", "copy/student"]
    assert [line.split()[0] for line in said.splitlines()[1:6]] == names
    page = (workdir / "report.html").read_text()
    assert "copy/student is best" in page
    assert "Over seeds" in page
    assert "Training loss, by step. copy/student: from" in page
    assert "Nearest images" not in page
    assert "--config.evaluation.save_embeddings=true" in page


def test_compare_looks_at_pictures_where_embeddings_are_stored(finished, copy, tmp_path):
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 4)
    other = Path(shutil.copytree(finished, tmp_path / "other"))
    results = json.loads((other / "results.json").read_text())
    results["networks"]["student"]["metrics"]["recall_at_1"] = 0.5
    (other / "results.json").write_text(json.dumps(results))
    for workdir in (copy, other):
        folder = workdir / "embeddings" / "test"
        folder.mkdir(parents=True)
        embeddings = np.eye(5)[labels] + 0.7 * generator.normal(size=(20, 5))
        np.savez(folder / "student.npz", embeddings=embeddings, labels=labels)
        np.savez(folder / "images.npz", images=np.zeros((20, 4, 4, 1), np.uint8))
    workdir = tmp_path / "compared"
    arguments = ["main", "--mode", "compare", str(copy), str(other), f"--workdir={workdir}"]
    assert command_line.main(arguments) == 0
    page = (workdir / "report.html").read_text()
    assert "<bdi>other/student right, copy/student wrong</bdi>" in page
    assert "Lead in Recall@1" in page
    assert page.count('alt="Query: ') >= 2


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (None, ": has no results.json, so no run was finished there; give workdirs of finished"),
        ("{", "/results.json: is damaged; write it again with --mode eval"),
        ("[]", "/results.json: is damaged; write it again with --mode eval"),
        ('{"schema": 1}', "/results.json: has schema 1, this version reads 2; write it again with"),
    ],
)
def test_compare_refuses_what_is_no_finished_run(finished, copy, capsys, spoil, line, tmp_path):
    (copy / "results.json").unlink()
    if spoil is not None:
        (copy / "results.json").write_text(spoil)
    arguments = [str(finished), str(copy), f"--workdir={tmp_path / 'w'}"]
    assert refusal(capsys, "--mode=compare", *arguments).startswith(f"{copy}{line}")
    assert not (tmp_path / "w" / "report.html").exists()


def test_compare_refuses_runs_that_cannot_be_compared(finished, copy, capsys, tmp_path):
    where = f"--workdir={tmp_path / 'w'}"
    said = refusal(capsys, "--mode=compare", str(finished), where)
    assert said.startswith("--mode compare: needs two runs or more; give their workdirs: ")
    said = refusal(capsys, "--mode=compare", str(finished), str(finished), where)
    assert said == "--mode compare: names one run twice; give each once"
    results = json.loads((copy / "results.json").read_text())
    results["dataset"]["images"] = 21
    (copy / "results.json").write_text(json.dumps(results))
    said = refusal(capsys, "--mode=compare", str(finished), str(copy), where)
    assert said == (
        f"{copy}: was measured on 'test' (glyphs, 21 images), {finished} on 'test' (glyphs, 20 "
        "images); compare runs on the same images"
    )
    said = refusal(capsys, "--mode=compare", str(finished), str(copy), CONFIG)
    assert said == "--config: is not for --mode compare; give the workdirs of runs alone"


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_an_interrupted_run_goes_on_to_the_same_bits(
    finished, tmp_path, monkeypatch, capsys, number
):
    """The signal comes in the middle of the student, between two validations."""
    shutil.copytree(finished / "teacher", tmp_path / "run" / "teacher")
    shutil.copytree(finished / "baseline", tmp_path / "run" / "baseline")
    original, calls = loop.put, []

    def put(tree, sharding):
        if isinstance(tree, dict):
            calls.append(tree)
            if len(calls) == 5:
                os.kill(os.getpid(), number)
        return original(tree, sharding)

    monkeypatch.setattr(loop, "put", put)
    assert run(tmp_path / "run") == 128 + number
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "student: stopped at step 5 of 8 and saved" in line
    assert "the same command goes on from there" in line
    assert newest_params(tmp_path / "run")[0] == 5
    monkeypatch.undo()
    assert run(tmp_path / "run") == 0
    step, params = newest_params(tmp_path / "run")
    _, expected = newest_params(finished)
    assert step == 8
    assert all((a == b).all() for a, b in zip(params, expected, strict=True))
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [2, 4, 4, 5, 6, 8, 8]


def test_a_loss_that_is_no_number_stops_the_run(copy, capsys, monkeypatch):
    (copy / "results.json").unlink()
    shutil.rmtree(copy / "checkpoints" / "8")
    original = loop.compile_step

    def spoilt(*arguments):
        step = original(*arguments)

        def spoil(*inputs):
            state, metrics = step(*inputs)
            return state, metrics | {"losses/kd": metrics["losses/kd"] * float("nan")}

        return spoil

    monkeypatch.setattr(loop, "compile_step", spoilt)
    assert run(copy) == 2
    assert (
        f"error: step 5: kd is NaN or infinite; {copy} keeps the last good"
        in capsys.readouterr().err
    )
    assert newest_params(copy)[0] == 4


def refusal(capsys, *arguments):
    """The one line of a refused command."""
    assert command_line.main(["main", *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line.removeprefix("error: ")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("stpes=3", "--config.stpes: no field 'stpes' in the config; did you mean 'steps'?"),
        (
            "losses.kd.temprature=3",
            "--config.losses.kd.temprature: no field 'temprature' in the config; did you mean "
            "'temperature'?",
        ),
        ("steps=many", "flag --config.steps=many: invalid literal for int() with base 10: 'many'"),
        ("steps=0", "steps: is 0; give at least 1"),
        ("ema_decay=1.0", "ema_decay: is 1.0; give less than 1"),
        ("data.std=0.0", "data.std: is 0.0; give more than 0"),
        ("model.name=resnet19", "model.name: unknown name 'resnet19'; did you mean 'resnet18'?"),
        ("model.stem=smal", "model.stem: is 'smal' (str); give 'imagenet' or 'strided' or 'small'"),
        ("data.source=glyph", "data.source: unknown name 'glyph'; did you mean 'glyphs'?"),
        ("optimizer.name=adam", "optimizer.name: unknown name 'adam'; did you mean 'adamw'?"),
        ("schedule.name=cosinus", "schedule.name: unknown name 'cosinus'; did you mean 'cosine'?"),
        (
            "data.batch_size=9",
            "data.batch_size: 9 images are no whole number of classes of 2 "
            "(data.images_per_class); give a multiple of 2",
        ),
        (
            "data.batch_size=10",
            "data.batch_size: 10 images do not divide over 4 devices; give a multiple of 4",
        ),
        (
            "teacher.data.batch_size=6",
            "teacher.data.batch_size: 6 images do not divide over 4 devices; give a multiple of 4",
        ),
        (
            "teacher.data.batch_size=48",
            "teacher.data.batch_size: 48 images at 2 a class (teacher.data.images_per_class) need "
            "24 classes, and the training split has 12; give at most 24, or more images a class",
        ),
        (
            "teacher.data.batch_size=9",
            "teacher.data.batch_size: 9 images are no whole number of classes of 2 "
            "(teacher.data.images_per_class); give a multiple of 2",
        ),
        ("learning_rate=0.0", "learning_rate: is 0.0; give more than 0"),
        ("teacher.learning_rate=-1.0", "teacher.learning_rate: is -1.0; give more than 0"),
        ("optimizer.weight_decay=-1.0", "optimizer.weight_decay: is -1.0; give at least 0"),
        ("schedule.warmup_steps=-1", "schedule.warmup_steps: is -1; give at least 0"),
        (
            "losses.kd.weight.warmup_steps=-2",
            "losses.kd.weight.warmup_steps: is -2; give at least 0",
        ),
        (
            "losses.kd.weight.value=inf",
            "losses.kd.weight: is inf; give a number or a schedule with a value",
        ),
        ("seed=-1", "seed: is -1; give at least 0"),
        ("ema_decay=nan", "ema_decay: is nan; give a finite number"),
        ("model.width=0", "model.width: is 0; give more than 0"),
        ("teacher.model.width=-3", "teacher.model.width: is -3; give more than 0"),
        ("model.embedding_dim=-1", "model.embedding_dim: is -1; give at least 0"),
        (
            "data.images_per_class=1",
            "baseline.triplet: learns from images of the same class, and a batch has 1 of each "
            "(data.images_per_class); give at least 2",
        ),
        (
            "data.batch_size=48",
            "data.batch_size: 48 images at 2 a class (data.images_per_class) need 24 classes, and "
            "the training split has 12; give at most 24, or more images a class",
        ),
        (
            "teacher.data.image_size=24",
            "teacher.data.image_size: is 24, the student's is 16; give both the same",
        ),
        (
            "checkpoint=somewhere",
            "checkpoint: is for a teacher; leave it empty to train this network",
        ),
        (
            "teacher.checkpoint=nowhere",
            "nowhere: has no run.json, so no run was trained there; train it first",
        ),
        (
            "data.options.num_classes=99999",
            "data.options.num_classes: is 99999; the fonts have 2687 characters, give at most that",
        ),
    ],
)
def test_refuses_a_config_in_one_line(change, line, capsys, tmp_path):
    said = refusal(capsys, CONFIG, f"--workdir={tmp_path / 'w'}", f"--config.{change}")
    assert said == line
    assert not (tmp_path / "w" / "checkpoints").exists()


CHANGED = """
from tests import tiny_config
def get_config():
    config = tiny_config.get_config().unlock()
    {change}
    return config
"""


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("config.stpes = 3", "stpes: unknown field; did you mean 'steps'?"),
        ("del config.steps", "steps: missing; give int"),
        (
            "with config.ignore_type(): config.data.path = 3.5",
            "data.path: is 3.5 (float); give str",
        ),
        ("config.losses = {}", "losses: is empty; name at least one of: "),
        (
            "config.losses = {'triplt': {'weight': 1}}",
            "losses: unknown name 'triplt'; did you mean ",
        ),
        ("config.losses = {'triplet': {}}", "losses.triplet: has no weight; give "),
        (
            "with config.ignore_type(): config.losses.kd.weight = 'x'",
            "losses.kd.weight: is 'x'; give a number or a schedule",
        ),
        ("config.losses.kd.weight.nam = 1", "losses.kd.weight.nam: unknown field; valid: "),
        ("config.losses.kd.temprature = 1.0", "losses.kd.temprature: unknown field; did you mean "),
        (
            "with config.ignore_type(): config.losses.kd.temperature = '1'",
            "losses.kd.temperature: is '1' (str); give float",
        ),
        (
            "config.losses.darkrank_soft.method = 'best'",
            "losses.darkrank_soft: method: got 'best', expected one of ",
        ),
        ("config.teacher = {}", "losses.darkrank_soft: needs a teacher; state teacher"),
        ("config.baseline = {'pkt': {'weight': 1}}", "baseline.pkt: a baseline has no teacher; "),
        ("del config.teacher.losses.normalized_softmax", "teacher.losses: is empty; name at least"),
        (
            "config.teacher.losses = {'triplet': {'weight': 1.0}}",
            "teacher.losses: kd compares class logits, so exactly one classification loss must",
        ),
        (
            "config.data.augmentation.random_afine = {}",
            "data.augmentation: unknown name 'random_afine'; did you mean 'random_affine'?",
        ),
        (
            "config.losses = {'embedding_match': {'weight': 1}}; config.model.embedding_dim = 9",
            "losses.embedding_match: ",
        ),
        (
            "config.losses.darkrank_hard = {'weight': 1.0, 'list_size': 8}",
            "losses.darkrank_hard.list_size: is 8; a batch of 8 has 7 other images, give at most 7",
        ),
    ],
)
def test_refuses_a_config_file_in_one_line(change, line, capsys, tmp_path):
    path = tmp_path / "changed.py"
    path.write_text(CHANGED.format(change=change))
    said = refusal(capsys, f"--config={path}", f"--workdir={tmp_path / 'w'}")
    assert said.startswith(line)
    assert not (tmp_path / "w" / "checkpoints").exists()


def test_refuses_what_is_no_command(capsys, tmp_path):
    assert refusal(capsys) == "--config: missing; give --config configs/NAME.py"
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


def test_refuses_a_workdir_of_another_run(finished, capsys):
    said = refusal(capsys, CONFIG, f"--workdir={finished}", "--config.learning_rate=0.5")
    assert said.startswith(f"{finished}: holds a run whose learning_rate is 0.001, not 0.5; give")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("teacher.seed=1", "teacher.seed is 0, not 1"),
        ("teacher.steps=9", "teacher.steps is 8, not 9"),
        ("baseline.triplet.margin=0.5", "baseline.triplet.margin is 0.3, not 0.5"),
    ],
)
def test_a_finished_run_is_not_that_of_another_teacher_or_baseline(finished, capsys, change, line):
    said = refusal(capsys, CONFIG, f"--workdir={finished}", f"--config.{change}")
    assert said.startswith(f"{finished}: holds a run whose {line}; give another --workdir")


def test_a_finished_run_is_that_of_the_same_teacher_wherever_it_lies(finished, copy, capsys):
    moved = finished.parent / "moved"
    shutil.copytree(finished / "teacher", moved, dirs_exist_ok=True)
    assert run(copy, f"--config.teacher.checkpoint={moved}") == 0
    shutil.rmtree(moved / "checkpoints" / "8")
    shutil.rmtree(moved / "checkpoints" / "4")
    # Nothing to compare with any more, and nothing to be done.
    assert run(copy, f"--config.teacher.checkpoint={moved}") == 0
    shutil.copytree(finished / "baseline", moved, dirs_exist_ok=True)
    said = refusal(capsys, CONFIG, f"--workdir={copy}", f"--config.teacher.checkpoint={moved}")
    assert said.startswith(f"{copy}: holds a run whose teacher was another than it is now; give")


def test_a_run_of_before_there_were_digests_is_done_all_the_same(copy, capsys):
    path = copy / "run.json"
    facts = json.loads(path.read_text())
    assert set(facts.pop("identity")) == {
        "teacher",
        "train split of data",
        "validation split of data",
        "test split of data",
    }
    path.write_text(json.dumps(facts))
    assert run(copy) == 0
    assert f"{copy} is done" in capsys.readouterr().out


def test_eval_needs_a_trained_run(capsys, tmp_path):
    said = refusal(capsys, CONFIG, f"--workdir={tmp_path / 'w'}", "--mode=eval")
    assert said.startswith(f"{tmp_path / 'w' / 'teacher'}: has no run.json")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("model.width=5", "teacher.model.width: is 5, and {} was trained with 6; give that"),
        ("model.normalize=False", "teacher.model.normalize: is False, and {} was trained with "),
        ("data.mean=0.1", "teacher.data.mean: is 0.1, and {} was trained with 0.5; give that"),
        ("data.std=(0.25,)", "teacher.data.std: is [0.25], and {} was trained with 0.5; give that"),
        ("ema_decay=0.5", "teacher.ema_decay: is 0.5, and {} was trained with 0.0; give that"),
    ],
)
def test_names_the_field_in_which_a_teachers_checkpoint_differs(
    finished, capsys, tmp_path, change, line
):
    arguments = [
        f"--workdir={tmp_path / 'w'}",
        f"--config.teacher.checkpoint={finished / 'teacher'}",
        f"--config.teacher.{change}",
    ]
    assert refusal(capsys, CONFIG, *arguments).startswith(line.format(finished / "teacher"))
    assert not (tmp_path / "w").exists()


def test_a_teachers_checkpoint_serves_another_run(finished, capsys, tmp_path):
    workdir = tmp_path / "w"
    arguments = ("--config.steps=2", f"--config.teacher.checkpoint={finished / 'teacher'}")
    assert run(workdir, *arguments) == 0
    assert not (workdir / "teacher").exists()
    first, second = (
        json.loads((each / "results.json").read_text())["networks"]["teacher"]["metrics"]
        for each in (finished, workdir)
    )
    assert first == second
