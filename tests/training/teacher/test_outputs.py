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
    shapes = {file.stem: np.load(file).shape for file in store.glob("*.npy")}
    assert shapes == {
        f"{name}-{step:05}": (1, 8, dim)
        for name, dim in (("teacher_embeddings", 8), ("teacher_logits", 12))
        for step in range(4)
    }


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
    views = [np.load(file)[0] for file in sorted(store.glob("teacher_embeddings-*.npy"))]
    assert len(views) == 2 * 48 // 8
    assert np.abs(views[0] - views[6]).max() > 1e-3
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


IMAGES = np.random.default_rng(3).integers(0, 256, (4, 8, 16, 16, 1), np.uint8)


def open_in(folder, teacher, wanted=frozenset({"teacher_embeddings"}), images=IMAGES, **given):
    """Opens the store of a run of 4 steps whose images are given; the batches that were read."""
    read = []

    class Given(Batches):
        def stored(self, first, count):
            for step in range(first, first + count):
                read.append(step)
                if images[step] is None:
                    raise KeyboardInterrupt
                yield images[step]

    batches = Given(*batches_of(student(), Splits()[student().data]["train"]))
    return open_store(folder, batches, teacher, {*wanted}, make_mesh(8), **given), read


def outputs_of(store):
    """The embeddings of all steps, [4, 8, dim]."""
    steps = [store.read(np.full(8, step), np.arange(8)) for step in range(4)]
    return np.stack([each["teacher_embeddings"] for each in steps])


def test_a_store_that_was_not_finished_goes_on_to_the_same_bits(teacher, tmp_path):
    whole, read = open_in(tmp_path / "whole", teacher)
    assert read == [0, 1, 2, 3]
    with pytest.raises(KeyboardInterrupt):
        open_in(tmp_path / "cut", teacher, images=[*IMAGES[:2], None, None])
    # A kill leaves what it was writing under a name of its own.
    rest, read = open_in(tmp_path / "cut", teacher)
    assert read == [2, 3]
    np.testing.assert_array_equal(outputs_of(rest), outputs_of(whole))
    again, read = open_in(tmp_path / "cut", teacher)
    assert read == []
    np.testing.assert_array_equal(outputs_of(again), outputs_of(whole))
    # Rows of several shards, and not all of them.
    found = again.read(np.array([3, 0, 3]), np.array([1, 7, 0]))["teacher_embeddings"]
    np.testing.assert_array_equal(found, outputs_of(whole)[[3, 0, 3], [1, 7, 0]])


def test_refuses_what_cannot_be_stored(teacher, tmp_path):
    with pytest.raises(UserError, match="too large to store; set store_teacher to False"):
        open_in(tmp_path, teacher, {"teacher_maps"})
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written \(.*\); .*; or set store_teacher to"):
        open_in(tmp_path / "file", teacher)


def test_float16_takes_half_the_room_at_the_stated_error(teacher, tmp_path):
    exact, half = (open_in(tmp_path, teacher, dtype=dtype)[0] for dtype in ("float32", "float16"))
    sizes = [store.shards["teacher_embeddings"][0].nbytes for store in (exact, half)]
    assert sizes[0] == 2 * sizes[1]
    found, expected = outputs_of(half), outputs_of(exact)
    assert found.dtype == np.float32
    assert (np.abs(found - expected) <= np.maximum(2**-11 * np.abs(expected), 3e-8)).all()
    assert (found != expected).any()


def test_numbers_too_large_for_float16_are_refused(teacher, tmp_path):
    def scaled(path, leaf):
        return leaf * 1e9 if "embedding" in jax.tree_util.keystr(path) else leaf

    model = teacher.model.clone(normalize=False)
    variables = jax.tree_util.tree_map_with_path(scaled, teacher.variables)
    large = teacher._replace(model=model, variables=variables)
    with pytest.raises(UserError, match=r"^store_dtype: teacher_embeddings reaches .*give float32"):
        open_in(tmp_path, large, dtype="float16")


def test_a_full_disk_is_said_in_one_line_and_what_was_stored_stays(teacher, tmp_path, monkeypatch):
    save = np.save

    def full(file, array):
        if list(tmp_path.rglob("*-00001.npy")):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(file, array)

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(UserError, match=r"\(No space left on device\); free some space"):
        open_in(tmp_path, teacher)
    monkeypatch.undo()
    assert open_in(tmp_path, teacher)[1] == [2, 3]


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[:-40], lambda data: data[:-1] + b"x"]
)
def test_a_damaged_store_says_what_to_delete(damage, teacher, tmp_path):
    open_in(tmp_path, teacher)
    (file,) = tmp_path.glob("*/teacher_embeddings-00002.npy")
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UserError) as raised:
        open_in(tmp_path, teacher)
    line = str(raised.value)
    assert line.startswith(f"{file.parent}: is damaged ({file.name} ")
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
