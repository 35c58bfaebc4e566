"""A stored teacher stands in for the teacher itself, and is never taken for another one."""

import dataclasses
import errno
import os
import shutil

import jax
import numpy as np
import PIL
import pytest

from darkrank_jax.config.reader import read_run
from darkrank_jax.data import class_neighbors
from darkrank_jax.distributed.mesh import make_mesh
from darkrank_jax.errors import UserError
from darkrank_jax.files import replacing
from darkrank_jax.runs.splits import Splits
from darkrank_jax.runs.train import train
from darkrank_jax.training.batches import Batches
from darkrank_jax.training.network import load_network
from darkrank_jax.training.teacher.outputs import open_store, outputs_digest
from darkrank_jax.workdir.metrics_log import read_log
from tests import tiny_config
from tests.drawn_runs import save_drawn

WANTED = {"teacher_embeddings", "teacher_logits"}


def student(**changes):
    run = read_run(tiny_config.get_config().to_dict())
    return dataclasses.replace(run, steps=4, log_every=1, baseline={}, **changes)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    run = student().teacher
    workdir = save_drawn(tmp_path_factory.mktemp("teacher") / "run", run)
    return load_network(run, workdir, make_mesh(8))


def digest(run, split, teacher, wanted, **sampler):
    return outputs_digest(batches_of(run, split, **sampler), teacher, wanted)


def batches_of(run, split, **sampler):
    return Batches(split, run.data, run.data.sampler | sampler, run.seed, run.steps, split)


def losses(run, teacher, workdir):
    train(run, Splits(), workdir, "student", make_mesh(8), teacher)
    return [row["loss"] for row in read_log(workdir) if "loss" in row]


@pytest.mark.slow
def test_a_student_learns_from_the_store_as_from_the_teacher(teacher, tmp_path):
    live = losses(student(), teacher, tmp_path / "live")
    stored = losses(student(store_teacher=True), teacher, tmp_path / "stored")
    assert len(live) == 4
    np.testing.assert_allclose(stored, live, rtol=1e-4)
    (store,) = (teacher.workdir / "outputs").iterdir()
    assert {file.stem for file in store.iterdir()} == WANTED
    shapes = {file.stem: np.load(file).shape for file in store.iterdir()}
    assert shapes == {"teacher_embeddings": (4, 8, 8), "teacher_logits": (4, 8, 12)}


@pytest.mark.slow
def test_stored_views_serve_runs_of_any_length(teacher, tmp_path):
    """48 images in batches of 8: the seventh step has the second view, the thirteenth the first."""
    short, long = (dataclasses.replace(student(), steps=steps) for steps in (4, 13))
    data = dataclasses.replace(short.data, views=2)
    live = losses(dataclasses.replace(long, data=data), teacher, tmp_path / "live")
    # What another test left there.
    shutil.rmtree(teacher.workdir / "outputs", ignore_errors=True)
    stored = dataclasses.replace(long, data=data, store_teacher=True)
    found = losses(stored, teacher, tmp_path / "stored")
    assert len(found) == 13
    np.testing.assert_allclose(found, live, rtol=1e-4)
    (store,) = (teacher.workdir / "outputs").iterdir()
    shapes = {file.stem: np.load(file).shape for file in store.iterdir()}
    assert shapes == {"teacher_embeddings": (2, 48, 8), "teacher_logits": (2, 48, 12)}
    views = np.load(store / "teacher_embeddings.npy")
    assert np.abs(views[0] - views[1]).max() > 1e-3
    split = Splits()[data]["train"]
    names = {digest(dataclasses.replace(run, data=data), split, teacher, WANTED)
             for run in (short, long)}  # fmt: skip
    assert names == {store.name}


def test_the_digest_follows_whatever_the_outputs_depend_on(teacher, monkeypatch):
    run, split = student(), Splits()[student().data]["train"]
    images = split.images.copy()
    images[3, 2, 1] += 1
    variables = jax.tree.map(lambda leaf: leaf + 1e-3, teacher.variables)
    fewer = dataclasses.replace(run.data, augmentation={})
    views = [dataclasses.replace(run.data, views=views) for views in (1, 2)]
    digests = [
        digest(run, split, teacher, WANTED),
        digest(dataclasses.replace(run, seed=5), split, teacher, WANTED),
        digest(dataclasses.replace(run, steps=5), split, teacher, WANTED),
        digest(dataclasses.replace(run, data=fewer), split, teacher, WANTED),
        *(digest(dataclasses.replace(run, data=data), split, teacher, WANTED) for data in views),
        digest(run, split._replace(images=images), teacher, WANTED),
        digest(run, split, teacher._replace(variables=variables), WANTED),
        digest(run, split, teacher, {"teacher_embeddings"}),
    ]
    # The same options, but other groups of classes that are alike.
    rng = np.random.default_rng(3)
    for embeddings in rng.normal(size=(2, len(split.labels), 8)):
        neighbors = class_neighbors(embeddings, split.labels)
        digests.append(digest(run, split, teacher, WANTED, neighbors=neighbors))
    # Augmentation follows from the libraries that do it.
    monkeypatch.setattr(PIL, "__version__", "0.1")
    digests.append(digest(run, split, teacher, WANTED))
    monkeypatch.undo()
    assert len(set(digests)) == len(digests)
    # Nor who prepared the teacher's batches.
    data = dataclasses.replace(teacher.run.data, num_workers=3)
    prepared = teacher._replace(run=dataclasses.replace(teacher.run, data=data))
    assert digest(run, split, prepared, WANTED) == digests[0]
    # What the student learns by does not matter, so students share a store.
    assert digest(student(learning_rate=0.5), split, teacher, WANTED) == digests[0]


def open_in(folder, teacher, wanted, stream):
    """Opens the store of a run whose images are those of a stream."""

    class Given(Batches):
        def each_once(self):
            return iter(stream())

    given = Given(*batches_of(student(), Splits()[student().data]["train"]))
    return open_store(folder, given, teacher, wanted, make_mesh(8))


def test_a_store_that_was_not_finished_is_not_used(teacher, tmp_path):
    images = np.zeros((8, 16, 16, 1), np.uint8)

    def broken():
        yield 0, images
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_in(tmp_path, teacher, {"teacher_embeddings"}, broken)
    assert not list(tmp_path.iterdir())
    stream = [(step, images) for step in range(4)]
    store = open_in(tmp_path, teacher, {"teacher_embeddings"}, lambda: stream)
    assert np.abs(store["teacher_embeddings"][3]).max() > 0


def test_refuses_what_cannot_be_stored(teacher, tmp_path):
    with pytest.raises(UserError, match="too large to store; set store_teacher to False"):
        open_in(tmp_path, teacher, {"teacher_maps"}, list)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written \(.*\); .*; or set store_teacher to"):
        open_in(tmp_path / "file", teacher, WANTED, list)


def test_a_full_disk_is_said_in_one_line_and_nothing_stays(teacher, tmp_path, monkeypatch):
    asked = []

    def full(file, start, size):
        asked.append((start, size))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    images = np.zeros((8, 16, 16, 1), np.uint8)
    with pytest.raises(UserError, match=r"\(No space left on device\); free some space"):
        open_in(tmp_path, teacher, {"teacher_embeddings"}, lambda: [(0, images)])
    assert not list(tmp_path.iterdir())
    # The header, then 4 steps of 8 images of 8 numbers.
    assert asked == [(0, 128 + 4 * 8 * 8 * 4)]


def test_what_a_killed_run_left_is_removed(teacher, tmp_path):
    with replacing(tmp_path / "store", folder=True) as beside:
        (beside / "teacher_embeddings.npy").write_bytes(b"0")
        left = beside.rename(tmp_path / beside.name.replace(f"-{os.getpid()}-", "-4194305-"))
        beside.mkdir()
    images = np.zeros((8, 16, 16, 1), np.uint8)
    open_in(tmp_path, teacher, {"teacher_embeddings"}, lambda: [(0, images)])
    assert not left.exists()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_store_that_another_run_has_finished_first_is_read(teacher, tmp_path):
    images = np.random.default_rng(3).integers(0, 256, (8, 16, 16, 1), np.uint8)

    def stream():
        for step in range(4):
            yield step, images
        if step == 3 and not list(tmp_path.glob("[0-9a-f]*")):
            open_in(tmp_path, teacher, {"teacher_embeddings"}, lambda: [(0, images)])

    store = open_in(tmp_path, teacher, {"teacher_embeddings"}, stream)
    assert np.abs(store["teacher_embeddings"][0]).max() > 0
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-40], lambda data: b"x"])
def test_a_damaged_store_says_what_to_delete(damage, teacher, tmp_path):
    images = Splits()[student().data]["train"].images[:8]

    def opened():
        return open_in(tmp_path, teacher, WANTED, lambda: [(step, images) for step in range(4)])

    assert opened()["teacher_embeddings"].shape == (4, 8, 8)
    (file,) = tmp_path.glob("*/teacher_embeddings.npy")
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UserError) as raised:
        opened()
    line = str(raised.value)
    assert line.startswith(f"{file}: cannot be read (")
    assert line.endswith(f"; delete {file.parent}, and the teacher's outputs are computed again")


@pytest.mark.slow
@pytest.mark.parametrize("views", [0, 2])
def test_a_teacher_of_larger_images_teaches_the_same_stored_and_live(views, tmp_path):
    small = dataclasses.replace(student().data, views=views)
    large = student().teacher
    large = dataclasses.replace(large, data=dataclasses.replace(large.data, image_size=24))
    network = load_network(large, save_drawn(tmp_path / "teacher", large), make_mesh(8))
    run = dataclasses.replace(student(), data=small, teacher=large)
    live = losses(run, network, tmp_path / "live")
    stored = losses(dataclasses.replace(run, store_teacher=True), network, tmp_path / "stored")
    np.testing.assert_allclose(stored, live, rtol=1e-4)
    same = losses(dataclasses.replace(run, teacher=student().teacher), network._replace(
        run=student().teacher), tmp_path / "same")  # fmt: skip
    assert np.abs(np.array(same) - live).max() > 1e-4
