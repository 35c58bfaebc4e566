"""Stored embeddings as a teacher: whose they are, and what does not fit."""

import json

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from darkrank_jax.data import SOURCES, Split, batches
from darkrank_jax.data.sources.glyphs import glyphs
from darkrank_jax.distributed.mesh import make_mesh
from darkrank_jax.inference.gallery import Gallery, write_gallery
from darkrank_jax.inference.image_lists import list_images
from darkrank_jax.runs import train as runs
from darkrank_jax.runs.splits import Splits
from darkrank_jax.training.initial_weights import import_network
from darkrank_jax.training.network import embed
from darkrank_jax.training.teacher.embeddings import read_teacher_embeddings
from darkrank_jax.workdir.metrics_log import read_log
from tests.small_runs import imported, read, refusal, small, stored, student

pytestmark = pytest.mark.usefixtures("source")


@pytest.mark.parametrize("by", ["names", "rows", "order", "records"])
def test_stored_embeddings_follow_the_images_of_each_batch(by, tmp_path):
    config = student(stored(tmp_path / ("f.npz" if by in ("names", "rows") else "f.npy")), steps=5)
    run = read(config)
    train = Splits()[run.data]["train"]
    vectors = train.images.reshape(len(train.labels), -1)[:, ::7].astype(np.float64)
    # The file has them in an order of its own, and others besides.
    order = np.random.default_rng(2).permutation(len(train.labels))
    names = np.array([f"other/{n}" for n in range(3)] + [train.names[row] for row in order])
    mixed = np.concatenate([np.zeros((3, vectors.shape[1])), vectors[order]])
    path = run.teacher.embeddings
    if by == "names":
        np.savez(path, ids=names, vectors=mixed)
    elif by == "rows":
        np.savez(path, ids=order, vectors=vectors[order])
    elif by == "records":
        records = np.zeros(len(mixed), [("ids", names.dtype), ("vectors", "f8", mixed.shape[1:])])
        records["ids"], records["vectors"] = names, mixed
        np.save(path, records)
    else:
        np.save(path, vectors)
    stream = batches(
        train,
        seed=run.seed,
        first_step=2,
        num_steps=3,
        batch_size=8,
        images_per_class=2,
        augmentation={},
        num_threads=1,
    )
    embeddings = read_teacher_embeddings(path, train)
    seen = 0
    for batch in stream:
        seen += 1
        found = embeddings.of(batch["rows"])
        expected = batch["images"].reshape(8, -1)[:, ::7]
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.float32
    assert seen == 3


@pytest.mark.slow
def test_a_student_learns_from_stored_embeddings_as_from_the_network(tmp_path):
    live, mesh = read(student(imported())), make_mesh(8)
    teacher = import_network(live.teacher, tmp_path, mesh, 3)
    train = Splits()[live.data]["train"]
    np.savez(tmp_path / "e.npz", ids=train.names, vectors=embed(teacher, train, mesh))
    runs.train(live, Splits(), tmp_path / "live", "student", mesh, teacher)
    run = read(student(stored(tmp_path / "e.npz")))
    runs.train(run, Splits(), tmp_path / "stored", "student", mesh)
    losses = [
        [row["loss"] for row in read_log(tmp_path / name) if "loss" in row]
        for name in ("live", "stored")
    ]
    assert losses[0][0] > 0
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


@pytest.mark.slow
def test_stored_embeddings_are_no_network_of_the_report(tmp_path, capsys):
    np.save(tmp_path / "e.npy", np.random.default_rng(0).normal(size=(48, 5)))
    config = student(stored(tmp_path / "e.npy"))
    config.baseline = ConfigDict({"triplet": {"weight": 1.0}})
    runs.train_and_report(read(config), tmp_path / "run")
    networks = json.loads((tmp_path / "run" / "results.json").read_text())["networks"]
    assert list(networks) == ["baseline", "student"]
    assert f"teacher   {tmp_path / 'e.npy'}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        (
            {"ids": np.arange(48), "vector": np.ones((48, 2))},
            "has ids, vector; store either embeddings or vectors [n, dim]",
        ),
        ({"embeddings": np.ones((48, 2))}, "has no ids; save ids as strings"),
        (
            {"ids": np.arange(47), "vectors": np.ones((48, 2))},
            "has 47 ids for 48 vectors; save ids as",
        ),
        (
            {"ids": np.arange(48), "vectors": np.ones(48)},
            "embeddings must be numbers [n, dim] (got float64 [48]);",
        ),
        (
            {"ids": np.arange(48), "vectors": np.full((48, 2), "x")},
            "embeddings must be numbers [n, dim] (got <U1 [48, 2]); save",
        ),
        (
            {"ids": np.array([*range(47), 3]), "vectors": np.ones((48, 2))},
            "id 3 is there twice; give each once",
        ),
        (
            {"ids": np.arange(2, 48), "vectors": np.ones((46, 2))},
            "has no vector for 2 of 48 training images: 0, 1; embed them too",
        ),
        (
            {
                "ids": np.array([f"train/{n:03}.png" for n in range(40)]),
                "vectors": np.ones((40, 2)),
            },
            "has no vector for 8 of 48 training images: train/040.png, train/041.png, "
            "train/042.png, train/043.png, train/044.png and 3 more; embed them too",
        ),
        (
            {"ids": np.arange(48), "vectors": np.where(np.eye(48, 2), np.nan, 1.0)},
            "the vector of id 0 is not finite in float32; fix or leave out what made it",
        ),
        (
            {"ids": np.array([*"ab"], object), "vectors": np.ones((2, 2))},
            "cannot be read (ids.npy holds Python objects); save ids as",
        ),
    ],
)
def test_stored_embeddings_that_do_not_fit_are_refused(arrays, line, tmp_path):
    path = tmp_path / "e.npz"
    np.savez(path, **arrays)
    split = Splits()[read(small()).data]["train"]
    assert refusal(read_teacher_embeddings, path, split).startswith(f"{path}: {line}")


NAMES = ["train/a/2.png", "train/b/1.png", "train/a/1.png"]


class OfFiles(Split):
    """A split of which only the names count."""

    names = property(lambda self: NAMES)


OF_FILES = OfFiles(np.zeros((3, 2, 2, 1), np.uint8), np.zeros(3, np.int32), ["a"])


@pytest.mark.parametrize(
    "written",
    [
        lambda name: f"/data/birds/{name}",
        lambda name: f"D:\\birds\\{name}".replace("/", "\\"),
        lambda name: name.removeprefix("train/"),
        lambda name: name.removesuffix(".png"),
        lambda name: f"../{name.replace('.png', '.jpg')}",
    ],
)
def test_ids_that_differ_from_the_names_in_leading_folders_or_suffix_are_matched(written, tmp_path):
    others = [written(name) for name in ("train/c/1.png", *reversed(NAMES))]
    vectors = np.arange(8.0).reshape(4, 2)
    np.savez(tmp_path / "e.npz", ids=others, vectors=vectors)
    found = read_teacher_embeddings(tmp_path / "e.npz", OF_FILES)
    np.testing.assert_array_equal(found.of(np.arange(3)), vectors[[3, 2, 1]])


@pytest.mark.parametrize(
    "ids",
    [
        # Two images have the name that the ids give.
        ["1.png", "2.png", "3.png"],
        ["x/1", "x/2", "x/3"],
        ["other/a/2.png", "other/b/1.png"],
    ],
)
def test_ids_of_which_none_is_an_image_are_refused_with_one_of_each_side(ids, tmp_path):
    path = tmp_path / "e.npz"
    np.savez(path, ids=ids, vectors=np.ones((len(ids), 2)))
    assert refusal(read_teacher_embeddings, path, OF_FILES) == (
        f"{path}: none of its {len(ids)} ids is a training image: it has {ids[0]!r}, the images "
        "are such as 'train/a/2.png'; give the images' names, or row numbers"
    )


@pytest.mark.parametrize("name", ["embeddings", "vectors"])
def test_stored_embeddings_may_have_either_name(name, tmp_path):
    split = Splits()[read(small()).data]["train"]
    rows, vectors = (
        np.random.default_rng(1).permutation(48),
        np.random.default_rng(2).random((48, 3)),
    )
    np.savez(tmp_path / "e.npz", ids=rows, **{name: vectors})
    found = read_teacher_embeddings(tmp_path / "e.npz", split).of(np.array([5, 0, 47]))
    expected = [vectors[rows.tolist().index(row)] for row in (5, 0, 47)]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


def test_a_gallery_is_a_teacher_of_the_images_it_was_made_of(tmp_path, monkeypatch):
    """Made of a folder that holds all splits, in the order of its names."""
    monkeypatch.setenv("DARKRANK_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(4)
    for place in (f"c{label}/{number}.png" for label in range(9) for number in range(2)):
        (tmp_path / "images" / place).parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (9, 12, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / place)
    listed = list_images(tmp_path / "images")
    vectors = rng.normal(size=(18, 4)).astype(np.float32)
    gallery = Gallery(np.array(listed.ids), np.array(listed.labels), vectors, {})
    write_gallery(gallery, tmp_path / "gallery.npz")
    train = SOURCES["images"](path=str(tmp_path / "images"), image_size=(8, 8))["train"]
    found = read_teacher_embeddings(tmp_path / "gallery.npz", train).of(
        np.arange(len(train.labels))
    )
    np.testing.assert_array_equal(found, vectors[[listed.ids.index(name) for name in train.names]])


def test_other_files_are_no_stored_embeddings(tmp_path):
    split = Splits()[read(small()).data]["train"]
    np.save(tmp_path / "e.npy", np.ones((49, 2)))
    line = refusal(read_teacher_embeddings, tmp_path / "e.npy", split)
    assert f"{tmp_path}/e.npy: has 49 vectors for 48 training images; give ids" in line
    for name, content in (("no.npz", None), ("no.npy", b"x"), ("zip.npz", b"PK\x03\x04")):
        if content:
            (tmp_path / name).write_bytes(content)
        said = "cannot be read (" if content else "must exist; save ids as strings"
        assert f"{tmp_path / name}: {said}" in refusal(
            read_teacher_embeddings, tmp_path / name, split
        )
    line = refusal(read_teacher_embeddings, tmp_path / "e.csv", split)
    assert line.startswith(f"{tmp_path}/e.csv: must be one of .npz, .npy, .parquet, .faiss; save")
    np.savez(tmp_path / "names.npz", ids=["a"], vectors=np.ones((1, 2)))
    nameless = glyphs(path="", image_size=16, num_classes=20, images_per_class=4)["train"]
    line = refusal(read_teacher_embeddings, tmp_path / "names.npz", nameless)
    assert "its ids are names, and this source's images have none; give row numbers" in line
