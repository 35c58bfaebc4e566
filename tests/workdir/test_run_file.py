"""Which run may go on in a workdir, and how many at a time."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from darkrank_jax.config.description import describe
from darkrank_jax.config.reader import read_run
from darkrank_jax.data import Split
from darkrank_jax.errors import UserError
from darkrank_jax.training.provenance import input_digests, teacher_digest
from darkrank_jax.workdir import manifests, run_file
from darkrank_jax.workdir.run_file import held
from tests import tiny_config
from tests.claims import claim

SIZES = {"channels": 1, "num_classes": 12}


def run_of(teacher=None, **changes):
    found = tiny_config.small()
    found.losses = ConfigDict({"rkd_distance": {"weight": 1.0}})
    found.teacher = tiny_config.small()
    found.teacher.losses = ConfigDict({"triplet": {"weight": 1.0}})
    found.teacher.update(teacher or {})
    found.update(changes)
    return read_run(found.to_dict())


def split(*names, count=2):
    labels = np.repeat(np.arange(len(names), dtype=np.int32), count)
    return Split(np.zeros((len(labels), 4, 4, 1), np.uint8), labels, names)


def checkpoint(folder, content="a"):
    """A workdir whose best checkpoint is of step 4."""
    place = folder / "checkpoints" / "4"
    (place / "metrics").mkdir(parents=True, exist_ok=True)
    (place / "metrics" / "metrics").write_text('{"recall_at_1": 0.5}')
    (place / "weights").write_text(content)
    manifests.seal(place)
    return folder


def digests_of(run, splits, place):
    return input_digests(splits, teacher_digest(run.teacher, place))


def refusal(workdir, run, **arguments):
    with pytest.raises(UserError) as error:
        claim(workdir, run, **SIZES | arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_another_trained_teacher_is_refused(tmp_path):
    claim(tmp_path, run_of(), **SIZES)
    # What changes nothing of it.
    claim(tmp_path, run_of({"keep_checkpoints": 5, "remat": True}), **SIZES)
    assert refusal(tmp_path, run_of({"steps": 9})).startswith(
        f"{tmp_path}: holds a run whose teacher.steps is 8, not 9; give another --workdir"
    )


def test_another_checkpoint_is_refused_and_one_that_was_moved_is_not(tmp_path):
    places = [checkpoint(tmp_path / name, name[:1]) for name in ("a", "b", "a moved")]
    first, other, moved = (run_of({"checkpoint": str(place)}) for place in places)
    workdir = tmp_path / "w"
    claim(workdir, first, **SIZES, digests=digests_of(first, {}, workdir))
    claim(workdir, moved, **SIZES, digests=digests_of(moved, {}, workdir))
    said = refusal(workdir, other, digests=digests_of(other, {}, workdir))
    assert said.startswith(f"{workdir}: holds a run whose teacher was another than it is now; ")
    # The teacher that was trained here is the one that now lies elsewhere, or is not.
    trained = run_of()
    checkpoint(tmp_path / "here", "a")
    claim(workdir, trained, **SIZES, digests=digests_of(trained, {}, tmp_path / "here"))
    checkpoint(tmp_path / "here", "b")
    refusal(workdir, trained, digests=digests_of(trained, {}, tmp_path / "here"))


def test_other_stored_embeddings_are_refused(tmp_path):
    run = run_of({"embeddings": str(tmp_path / "e.npy"), "losses": ConfigDict()})
    np.save(tmp_path / "e.npy", np.ones((3, 2)))
    claim(tmp_path / "w", run, **SIZES, digests=digests_of(run, {}, tmp_path))
    os.rename(tmp_path / "e.npy", tmp_path / "moved.npy")
    moved = run_of({"embeddings": str(tmp_path / "moved.npy"), "losses": ConfigDict()})
    claim(tmp_path / "w", moved, **SIZES, digests=digests_of(moved, {}, tmp_path))
    np.save(tmp_path / "moved.npy", np.zeros((3, 2)))
    said = refusal(tmp_path / "w", moved, digests=digests_of(moved, {}, tmp_path))
    assert "holds a run whose teacher was another than it is now" in said


def test_other_classes_and_images_are_refused(tmp_path):
    run = run_of()
    before = {"train": split("a", "b", "c"), "test": split("d", "e")}
    claim(tmp_path, run, **SIZES, digests=digests_of(run, before, tmp_path))
    for changed in (
        {"test": split("d", "f")},
        {"test": split("d", "e", count=3)},
        {"train": split("a", "b", "d"), "test": split("c", "e")},
    ):
        said = refusal(tmp_path, run, digests=digests_of(run, before | changed, tmp_path))
        assert said.startswith(
            f"{tmp_path}: holds a run whose {next(iter(changed))} split of data was another than "
        )
    assert refusal(tmp_path, run, num_classes=13).startswith(
        f"{tmp_path}: holds a run whose data had 12 classes to train on, not 13; give another "
    )


def test_a_workdir_of_before_there_were_digests_goes_on_and_then_has_them(tmp_path):
    run = run_of()
    claim(tmp_path, run, **SIZES)
    facts = json.loads((tmp_path / "run.json").read_text())
    del facts["identity"]
    (tmp_path / "run.json").write_text(json.dumps(facts))
    digests = digests_of(run, {"train": split("a", "b")}, checkpoint(tmp_path / "t"))
    claim(tmp_path, run, **SIZES, digests=digests)
    assert set(digests) == {"teacher", "train split of data"}
    assert json.loads((tmp_path / "run.json").read_text())["identity"] == digests


def test_a_run_that_was_claimed_before_a_list_existed_resumes_with_it_empty(tmp_path):
    run = run_of({"weights": {"path": "a.safetensors"}})
    claim(tmp_path, run, **SIZES)
    facts = json.loads((tmp_path / "run.json").read_text())
    del facts["run"]["weights"]["ignore"], facts["run"]["teacher"]["weights"]["ignore"]
    (tmp_path / "run.json").write_text(json.dumps(facts))
    claim(tmp_path, run, **SIZES)
    other = run_of({"weights": {"path": "a.safetensors", "ignore": ("ema.",)}})
    assert "holds a run whose teacher.weights.ignore is [], not ['ema.']" in refusal(
        tmp_path, other
    )


def test_a_run_that_was_claimed_before_a_field_existed_resumes_with_its_default(tmp_path):
    run = run_of()
    claim(tmp_path, run, **SIZES)
    facts = json.loads((tmp_path / "run.json").read_text())
    for part in (facts["run"], facts["run"]["teacher"]):
        for name in ("patience", "freeze_steps", "layer_decay", "epochs", "mixup", "store_dtype"):
            del part[name]
        del part["weights"]["neck"]
    (tmp_path / "run.json").write_text(json.dumps(facts))
    run_file.check_same(tmp_path, describe(run))
    assert "holds a run whose layer_decay is 1.0, not 0.5" in refusal(
        tmp_path, run_of(layer_decay=0.5)
    )
    assert "holds a run whose teacher.freeze_steps is 0, not 3" in refusal(
        tmp_path, run_of({"freeze_steps": 3})
    )


def test_a_baseline_may_come_later(tmp_path):
    run = run_of()
    claim(tmp_path, run, **SIZES)
    more = dataclasses.replace(run, baseline={"triplet": {"weight": 1.0}})
    claim(tmp_path, more, **SIZES)
    with pytest.raises(UserError, match=r"holds a run whose baseline\.triplet is "):
        run_file.check_same(tmp_path, describe(run))


def test_a_run_that_is_killed_while_it_writes_leaves_what_was_there(tmp_path, monkeypatch):
    claim(tmp_path, run_of(), **SIZES)
    before = (tmp_path / "run.json").read_text()
    # As versions before this one left it.
    (tmp_path / "run.json").write_text("")
    assert refusal(tmp_path, run_of()).startswith(
        f"{tmp_path / 'run.json'}: must not be empty; delete "
    )
    (tmp_path / "run.json").write_text(before)

    def killed(path, data):
        path.open("w").close()
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        claim(tmp_path, run_of({"keep_checkpoints": 7}), **SIZES)
    assert (tmp_path / "run.json").read_text() == before


@pytest.mark.skipif(run_file.fcntl is None, reason="the system has no locks")
def test_one_process_trains_in_a_workdir(tmp_path):
    # A second opening of the file is as another process.
    with held(tmp_path), pytest.raises(UserError) as refusal, held(tmp_path):
        pass
    assert str(refusal.value) == (
        f"{tmp_path}: another process trains there now; wait for its end, or give another --workdir"
    )
    with held(tmp_path):
        pass


@pytest.mark.skipif(run_file.fcntl is None, reason="the system has no locks")
def test_a_filesystem_without_locks_is_trained_on(tmp_path, monkeypatch):
    def unknown(file, flags):
        raise OSError(run_file.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(run_file.fcntl, "flock", unknown)
    with held(tmp_path):
        assert tmp_path.is_dir()
