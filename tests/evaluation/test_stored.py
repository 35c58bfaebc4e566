"""Stored embeddings: what is written comes back, and what does not fit is refused in one line."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.stored import read_stored, same_images, write_images, write_stored
from darkrank_jax.inference.gallery import Gallery, write_gallery

EMBEDDINGS = np.arange(12, dtype=np.float32).reshape(4, 3) / 7
LABELS = np.array([2, 0, 2, 1])
NAMES = ("a", "<b>", "\u4e2d")


def test_what_is_written_comes_back(tmp_path):
    path = tmp_path / "deep" / "student.npz"
    queries = np.array([True, False, False, True])
    cameras = np.array([5, 5, 6, 6])
    write_stored(
        path, EMBEDDINGS, LABELS, NAMES, cameras=cameras, queries=queries, digest="a:2x2x1:b"
    )
    stored = read_stored(path)
    np.testing.assert_array_equal(stored.embeddings, EMBEDDINGS)
    assert stored.labels.tolist() == LABELS.tolist()
    assert stored.class_names == NAMES
    assert stored.cameras is not None
    assert stored.cameras.tolist() == [5, 5, 6, 6]
    assert stored.queries is not None
    assert stored.queries.tolist() == queries.tolist()
    assert stored.digest == "a:2x2x1:b"
    assert stored.images is None
    images = np.arange(16, dtype=np.uint8).reshape(4, 2, 2, 1)
    write_images(path.parent, images)
    shared = read_stored(path).images
    assert shared is not None
    np.testing.assert_array_equal(shared, images)
    assert sorted(file.name for file in path.parent.iterdir()) == ["images.npz", "student.npz"]


def test_labels_without_names_are_their_own_names(tmp_path):
    np.savez(tmp_path / "x.npz", embeddings=EMBEDDINGS, labels=np.array([-3, 40, 40, -3]))
    stored = read_stored(tmp_path / "x.npz")
    assert (stored.labels.tolist(), stored.class_names) == ([0, 1, 1, 0], ("-3", "40"))


def test_a_gallery_is_read_as_what_it_holds(tmp_path):
    """What `--mode embed` writes: vectors, and labels that are names."""
    names = np.array(["b c", "a", "b c", "\u4e2d"])
    gallery = Gallery(np.array(["1.png", "2.png", "3.png", "4.png"]), names, EMBEDDINGS, {"x": 1})
    write_gallery(gallery, tmp_path / "gallery.npz")
    stored = read_stored(tmp_path / "gallery.npz")
    np.testing.assert_array_equal(stored.embeddings, EMBEDDINGS)
    assert [stored.class_names[label] for label in stored.labels] == names.tolist()
    assert stored.class_names == ("a", "b c", "\u4e2d")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"labels": None}, "has no labels, only vectors; store what each image is"),
        ({"embeddings": None}, "has labels; store either embeddings or vectors [n, dim]"),
        ({"vectors": EMBEDDINGS}, "has embeddings, labels, vectors; store either embeddings or "),
        ({"labels": np.array(["a", "", "", "b"])}, "2 of 4 labels are empty; say what each image"),
        (
            {"labels": np.array(["a", "b", "a", "b"]), "class_names": np.array(["a", "b"])},
            "labels must be integers [4], one an embedding (got <U1 [4])",
        ),
        (
            {"embeddings": np.arange(4)},
            "embeddings must be numbers [n, dim] (got int64 [4]); write it",
        ),
        ({"labels": LABELS[:3]}, "labels must be integers [4], one an embedding (got int64 [3])"),
        ({"labels": LABELS / 2}, "labels must be integers [4], one an embedding (got float64 [4])"),
        ({"cameras": LABELS[:1]}, "cameras must be integers [4], one an embedding (got int64 [1])"),
        ({"queries": LABELS}, "queries must be bool [4], one an embedding (got int64 [4])"),
        ({"queries": LABELS < 9}, "4 of 4 embeddings are queries; mark some, and leave some for "),
        ({"class_names": np.arange(3)}, "class_names must be texts [classes] (got int64 [3])"),
        (
            {"class_names": np.array(["a", "b"])},
            "labels run from 0 to 2, and there are 2 class_names; give labels from 0 to 1",
        ),
        (
            {"images": np.zeros((4, 2, 2))},
            "images must be uint8 [n, h, w, 1 or 3] (got float64 [4, 2",
        ),
        (
            {"images": np.zeros((3, 2, 2, 1), np.uint8)},
            "must have an image for each of 4 embeddings (got 3)",
        ),
        ({"digest": np.array("a:b")}, "digest is no word for images; leave it out, or write the "),
        ({"digest": LABELS}, "digest is no word for images; leave it out, or write the file again"),
        (
            {"labels": np.array([{}, 1, 2, 3])},
            "cannot be read (labels.npy holds Python objects); write it with numpy.savez",
        ),
    ],
)
def test_refuses_what_does_not_fit(tmp_path, changes, line):
    arrays = {"embeddings": EMBEDDINGS, "labels": LABELS} | changes
    path = tmp_path / "x.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(UserError, match=re.escape(f"{path}: {line}")) as error:
        read_stored(path)
    assert "\n" not in str(error.value)


def test_refuses_what_is_no_archive(tmp_path):
    path = tmp_path / "x.npz"
    with pytest.raises(UserError, match="must exist; write it"):
        read_stored(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match=r"cannot be read \("):
        read_stored(path)
    np.save(tmp_path / "one.npy", EMBEDDINGS)
    (tmp_path / "one.npy").rename(path)
    with pytest.raises(UserError, match="not a zip file"):
        read_stored(path)
    write_stored(path, EMBEDDINGS, LABELS, NAMES)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"cannot be read \("):
        read_stored(path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UserError, match=r"student\.npz: cannot be written \(.*choose another place"
    ):
        write_stored(tmp_path / "file" / "student.npz", EMBEDDINGS, LABELS, NAMES)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=7),
    st.lists(st.integers(0, 3), min_size=1, max_size=7),
)
def test_the_same_images_are_grouped_alike(first, second):
    alike = len(first) == len(second) and all(
        (first[i] == first[j]) == (second[i] == second[j])
        for i in range(len(first))
        for j in range(i)
    )
    assert same_images(np.array(first), np.array(second)) == alike
