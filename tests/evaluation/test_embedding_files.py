"""Files of embeddings: what is written comes back, and hostile or damaged files give one line."""

import os
import re
import struct

import faiss
import numpy as np
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.embedding_files import (
    escape,
    read_embeddings,
    unescape,
    write_index,
)
from darkrank_jax.inference.gallery import Gallery, read_gallery, write_gallery

RNG = np.random.default_rng(7)
VECTORS = RNG.normal(size=(6, 5)).astype(np.float32)
IDS = np.array(["a/0.png", "caf\udce9.png", r"b\udce9.png", "\u732b.png", "a,b.png", "=1+1.png"])
LABELS = np.array(["a", "b", "", "\u4e2d", "b", "a"])
FACTS = {
    "schema": 1,
    "name": "run",
    "model": {"name": "resnet10"},
    "mean": 0.5,
    "std": [0.5],
    "image_shape": [16, 16, 1],
    "center_crop": 1.0,
    "embedding_dim": 5,
    "fingerprint": "0123456789abcdef",
    "compatible_with": [],
    "place": "/images",
}
GALLERY = Gallery(IDS, LABELS, VECTORS, FACTS)
SUFFIXES = (".npz", ".parquet", ".faiss")


def refusal(read, *arguments):
    """The one line of a refused file."""
    with pytest.raises(UserError) as raised:
        read(*arguments)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def read(path):
    return read_embeddings(path, ("ids", "labels"), "embed again")


def table(**columns):
    """A Parquet table of three rows, with columns replaced or, where None, left out."""
    vector = pyarrow.array([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]], pyarrow.list_(pyarrow.float32()))
    whole = {"id": ["a", "b", "c"], "label": ["x", "y", "x"], "vector": vector} | columns
    return pyarrow.table({name: column for name, column in whole.items() if column is not None})


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_gallery_with_names_that_are_not_utf8_comes_back(suffix, tmp_path):
    path = tmp_path / f"g{suffix}"
    write_gallery(GALLERY, path)
    again = read_gallery(path)
    assert again.ids.tolist() == IDS.tolist()
    assert again.labels.tolist() == LABELS.tolist()
    np.testing.assert_array_equal(again.vectors, VECTORS)
    assert again.facts == FACTS


@given(st.text(st.sampled_from("\\u0dc5e9\udce9\ud800a"), max_size=12))
def test_escaped_names_are_utf8_and_come_back(name):
    assert unescape(escape(name).encode("utf-8").decode("utf-8")) == name


def test_index_is_what_faiss_reads_and_writes(tmp_path):
    index = faiss.IndexFlatL2(5)
    index.add(VECTORS)
    assert write_index(VECTORS) == faiss.serialize_index(index).tobytes()
    write_gallery(GALLERY, tmp_path / "g.faiss")
    read_back = faiss.read_index(str(tmp_path / "g.faiss"))
    distances, rows = read_back.search(VECTORS[3:4], 2)
    assert (rows[0, 0], distances[0, 0]) == (3, 0)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_teacher_reads_ids_and_vectors_of_every_format(suffix, tmp_path):
    write_gallery(GALLERY, tmp_path / f"g{suffix}")
    found = read(tmp_path / f"g{suffix}")
    assert found["ids"].tolist() == IDS.tolist()
    np.testing.assert_array_equal(found["vectors"], VECTORS)


def test_parquet_of_others_is_read_whatever_its_types(tmp_path):
    others = table(
        id=pyarrow.array([5, 3, 9]),
        label=pyarrow.array(["x", "y", "x"]).dictionary_encode(),
        vector=pyarrow.array([[1.5, 2], [3, 4], [5, 7]], pyarrow.list_(pyarrow.float64(), 2)),
    )
    parquet.write_table(others, tmp_path / "o.parquet", row_group_size=2)
    found = read(tmp_path / "o.parquet")
    assert found["ids"].tolist() == [5, 3, 9]
    assert found["labels"].tolist() == ["x", "y", "x"]
    assert found["vectors"].tolist() == [[1.5, 2], [3, 4], [5, 7]]


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        ({"vector": [[1.0, 2.0], [3.0], [4.0, 5.0]]}, "row 2 of 'vector' has 1 numbers and row 1 "),
        ({"vector": [[1.0], [2.0, 3.0], [4.0, 5.0]]}, "row 2 of 'vector' has 2 numbers and row 1 "),
        ({"vector": [[1.0, 2.0], None, [4.0, 5.0]]}, "row 2 has no 'vector'; embed again"),
        ({"vector": [[1.0, 2.0], [3.0, 4.0], [4.0, None]]}, "row 3 of 'vector' lacks a number; "),
        ({"vector": [["1", "2"]] * 3}, "column 'vector' must be lists of numbers (got list<"),
        ({"vector": [1.0, 2.0, 3.0]}, "column 'vector' must be lists of numbers (got double); "),
        (
            {"vector": [[1.0, 2.0], [3.0, np.nan], [5.0, 6.0]]},
            "the vector of id b is not finite in",
        ),
        ({"vector": [[], [], []]}, "column 'vector' must be lists of numbers (got list<"),
        ({"vector": None}, "has ids, labels; store either embeddings or vectors [n, dim]"),
        ({"id": ["a", None, "c"]}, "row 2 has no 'id'; embed again"),
        ({"id": [[1], [2], [3]]}, "column 'id' must be texts or integers (got list<"),
        ({"id": [b"a", b"b", b"c"]}, "column 'id' must be texts or integers (got binary); "),
        ({"label": [0.5, 1.5, 2.5]}, "column 'label' must be texts or integers (got double); "),
    ],
)
def test_parquet_column_that_does_not_fit_is_refused(columns, line, tmp_path):
    path = tmp_path / "x.parquet"
    parquet.write_table(table(**columns), path)
    assert refusal(read, path).startswith(f"{path}: {line}")


def test_small_files_that_would_fill_the_memory_are_refused(tmp_path):
    zeros = np.zeros((2**20, 26), np.float32)
    np.savez_compressed(tmp_path / "x.npz", vectors=zeros)
    flat = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(zeros.reshape(-1)), 26)
    parquet.write_table(pyarrow.table({"vector": flat}), tmp_path / "x.parquet")
    for path in (tmp_path / "x.npz", tmp_path / "x.parquet"):
        assert path.stat().st_size < 2**20
        assert re.search(r"would take [\d,]+ bytes of memory, over 100 times", refusal(read, path))


def test_ids_of_one_long_text_do_not_fill_the_memory(tmp_path):
    ids = ["a" * 10**6, *map(str, range(999))]
    vectors = pyarrow.array([[1.0]] * 1000)
    path = tmp_path / "x.parquet"
    parquet.write_table(pyarrow.table({"id": ids, "vector": vectors}), path)
    assert "would take 4,000,000,000 bytes of memory" in refusal(read, path)


def test_texts_that_are_no_characters_are_refused(tmp_path):
    ids = np.full(6, 0x110000, "<u4").view("<U1")
    np.savez(tmp_path / "x.npz", ids=ids, vectors=VECTORS)
    assert "ids must be texts (got other bytes)" in refusal(read, tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("ids", IDS[:5], "has 5 ids for 6 vectors; "),
        ("ids", np.arange(6), "ids must be texts [6] (got int64 [6]); "),
        ("ids", np.arange(6) / 2, "ids must be texts or integers [n] (got float64 [6]); "),
        ("labels", LABELS[:5], "labels must be texts [6] (got <U1 [5]); "),
        ("labels", np.arange(6), "labels must be texts [6] (got int64 [6]); "),
        ("vectors", VECTORS[:, :4], "vectors must have facts.embedding_dim = 5 numbers (got 4); "),
        ("vectors", VECTORS[:0], "embeddings must be numbers [n, dim] (got float32 [0, 5]); "),
        ("vectors", VECTORS + 1j, "embeddings must be numbers [n, dim] (got complex64 [6, 5]); "),
        (
            "vectors",
            np.where(np.eye(6, 5), np.inf, VECTORS),
            "the vector of id a/0.png is not finite in",
        ),
        ("facts", np.array("[]"), "does not say how it is used, so --mode export or embed did not"),
        ("checksum", np.array("0"), "is damaged (checksums differ); embed the images again"),
    ],
)
def test_gallery_whose_parts_do_not_fit_is_refused(name, value, line, tmp_path):
    path = tmp_path / "g.npz"
    write_gallery(GALLERY, path)
    with np.load(path) as arrays:
        np.savez(path, **{**arrays, name: value})
    assert refusal(read_gallery, path).startswith(f"{path}: {line}")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"image_shape": [16, 16]}, "facts.image_shape must be [height, width, 1 or 3] (got [16"),
        ({"image_shape": [16, 10**9, 1]}, "facts.image_shape must be [height, width, 1 or 3] (got"),
        ({"mean": "0.5"}, "facts.mean must be a number or a list of numbers (got '0.5'); write it"),
        (
            {"mean": [0.1, 0.2, 0.3]},
            "facts.mean must be one number for each of 1 channels (got 3);",
        ),
        ({"std": True}, "facts.std must be a number or a list of numbers (got True); write it"),
        ({"center_crop": 1.5}, "facts.center_crop must be a number from 0 to 1 (got 1.5); write"),
        ({"embedding_dim": 5.0}, "facts.embedding_dim must be a positive integer (got 5.0); "),
        ({"model": ["resnet10"]}, "facts.model must be an object with a name (got ['resnet10']); "),
        ({"compatible_with": "x"}, "facts.compatible_with must be texts (got 'x'); write it again"),
        ({"place": None}, "facts.place must be a text (got None); write it again"),
        ({"schema": 2}, "is of layout 2, and this version reads 1; update"),
    ],
)
def test_gallery_whose_facts_are_of_other_types_is_refused(change, line, tmp_path):
    path = tmp_path / "g.npz"
    write_gallery(GALLERY._replace(facts=FACTS | change), path)
    assert refusal(read_gallery, path).startswith(f"{path}: {line}")


@pytest.mark.parametrize("name", [name for name in FACTS if name != "schema"])
def test_gallery_whose_facts_lack_a_field_names_it(name, tmp_path):
    facts = {key: value for key, value in FACTS.items() if key != name}
    write_gallery(GALLERY._replace(facts=facts), tmp_path / "g.npz")
    assert f"facts.{name} must be " in refusal(read_gallery, tmp_path / "g.npz")


def test_index_of_another_gallery_than_the_ids_beside_it_is_refused(tmp_path):
    for name, vectors in (("a", VECTORS), ("b", VECTORS[::-1])):
        write_gallery(GALLERY._replace(vectors=vectors), tmp_path / f"{name}.faiss")
    (tmp_path / "b.faiss").replace(tmp_path / "a.faiss")
    line = refusal(read_gallery, tmp_path / "a.faiss")
    assert "a.faiss: does not belong to a.faiss.npz (checksums differ); embed" in line
    (tmp_path / "a.faiss.npz").unlink()
    assert refusal(read_gallery, tmp_path / "a.faiss").startswith(
        f"{tmp_path}/a.faiss.npz: must exist"
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: faiss.IndexFlatIP(5),
        lambda: faiss.IndexHNSWFlat(5, 4),
        lambda: faiss.IndexIDMap(faiss.IndexFlatL2(5)),
    ],
)
def test_index_of_another_kind_is_refused(make, tmp_path):
    path = tmp_path / "g.faiss"
    write_gallery(GALLERY, path)
    faiss.write_index(make(), str(path))
    assert "not an IndexFlatL2" in refusal(read_gallery, path)


@pytest.mark.parametrize(("dim", "count"), [(5, 7), (4, 6), (0, 30), (5, -6), (-5, -6)])
def test_index_that_states_other_sizes_is_refused(dim, count, tmp_path):
    path = tmp_path / "g.faiss"
    write_gallery(GALLERY, path)
    data = bytearray(path.read_bytes())
    struct.pack_into("<iq", data, 4, dim, count)
    path.write_bytes(data)
    assert "and holds 120 bytes" in refusal(read_gallery, path)


def test_pipe_and_folder_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "x.npz")
    (tmp_path / "x.parquet").mkdir()
    for name in ("x.npz", "x.parquet"):
        assert "must be a regular file; embed again" in refusal(read, tmp_path / name)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_writing_that_fails_leaves_the_earlier_gallery(suffix, tmp_path, monkeypatch):
    path = tmp_path / f"g{suffix}"
    write_gallery(GALLERY, path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    other = GALLERY._replace(vectors=VECTORS[::-1])
    line = refusal(write_gallery, other, path)
    assert "cannot be written (No space left on device); free some space" in line
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert read_gallery(path).vectors.tolist() == VECTORS.tolist()


@pytest.mark.parametrize("name", ["g.npz", "g.parquet", "g.faiss", "g.faiss.npz"])
def test_damaged_gallery_gives_one_line_or_the_same(name, tmp_path):
    """Empty, cut at many places, and with single bits turned."""
    path = tmp_path / name.replace(".faiss.npz", ".faiss")
    write_gallery(GALLERY, path)
    sound = (tmp_path / name).read_bytes()
    rng = np.random.default_rng(3)
    damaged = [sound[:size] for size in (0, 1, 44, *rng.integers(2, len(sound), 20))]
    for place in rng.integers(0, len(sound), 150):
        garbled = bytearray(sound)
        garbled[place] ^= 1 << rng.integers(8)
        damaged.append(bytes(garbled))
    outcomes = [outcome(name, path, data) for data in damaged]
    lines = [line for line in outcomes if line != "the same"]
    assert all(line.startswith(str(path)) and "\n" not in line for line in lines)
    assert len(lines) >= 23


def outcome(name, path, data):
    """What comes of a gallery of which one file holds other bytes: its one line, or "the same"."""
    path.with_name(name).write_bytes(data)
    try:
        found = read_gallery(path)
    except UserError as error:
        return str(error)
    for values, expected in zip(found[:3], GALLERY[:3], strict=True):
        assert values.tolist() == expected.tolist()
    return "the same" if found.facts == FACTS else "other facts"
