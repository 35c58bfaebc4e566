"""NumPy's files from strangers."""

import zipfile

import numpy as np
import pytest

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation import array_files
from darkrank_jax.evaluation.array_files import check_growth, map_npy, read_npz
from tests.evaluation.hostile_arrays import npy, zipped

VECTORS = np.random.default_rng(7).normal(size=(6, 5)).astype(np.float32)


def read(path):
    return read_npz(path, list, "embed again")


def refusal(function, *arguments):
    with pytest.raises(UserError) as raised:
        function(*arguments)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back_as_numpy_wrote_them(order, tmp_path):
    array = np.asarray(VECTORS, order=order)
    np.savez(tmp_path / "a.npz", x=array, y=np.arange(3), z=np.array(["a", "猫"]))
    found = read_npz(tmp_path / "a.npz", lambda names: [n for n in names if n != "y"], "")
    assert list(found) == ["x", "z"]
    np.testing.assert_array_equal(found["x"], array)
    assert found["z"].tolist() == ["a", "猫"]
    np.save(tmp_path / "a.npy", array)
    mapped = map_npy(tmp_path / "a.npy", "")
    np.testing.assert_array_equal(mapped, array)
    assert not mapped.flags.writeable


def test_a_mapped_array_of_other_bytes_or_of_objects_is_refused(tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(npy(VECTORS)[:-4])
    assert "a.npy states float32 [6, 5] and holds 116 bytes" in refusal(map_npy, path, "again")
    np.save(path, np.array([{}], object), allow_pickle=True)
    assert "holds Python objects); again" in refusal(map_npy, path, "again")
    assert refusal(map_npy, tmp_path, "again") == f"{tmp_path}: must be a regular file; again"


def test_arrays_far_larger_than_their_file_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(bytes(2**21))
    check_growth(path, 100 * 2**21)
    assert "would take 209,715,201 bytes of memory" in refusal(check_growth, path, 100 * 2**21 + 1)


@pytest.mark.parametrize(
    ("members", "line"),
    [
        (
            [("vectors.npy", npy(VECTORS, shape=(600, 5)))],
            "vectors.npy states float32 [600, 5] and",
        ),
        ([("vectors.npy", npy(VECTORS, shape=(5, 5)))], "vectors.npy states float32 [5, 5] and"),
        (
            [("vectors.npy", npy(VECTORS, shape=(-6, -5)))],
            "vectors.npy states float32 [-6, -5] and",
        ),
        ([("vectors.npy", npy(VECTORS)), ("vectors.npy", b"")], "vectors is there twice"),
        ([("vectors.npy", npy(VECTORS)), ("vectors", b"")], "vectors is there twice"),
        ([("vectors.npy", b"no array")], "the header of vectors.npy is damaged or of another"),
        (
            [("vectors.npy", b"\x93NUMPY\x09\x00" + bytes(99))],
            "the header of vectors.npy is damaged",
        ),
        (
            [("vectors.npy", npy(VECTORS).replace(b"(6, 5)", b"((6,5)"))],
            "the header of vectors.npy",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_npz_whose_sizes_disagree_is_refused(members, line, tmp_path):
    path = zipped(tmp_path / "x.npz", members)
    assert refusal(read, path).startswith(f"{path}: cannot be read ({line}")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_npz_of_methods_that_expand_without_bound_is_refused(method, tmp_path):
    path = zipped(tmp_path / "x.npz", [("vectors.npy", npy(VECTORS))], method)
    assert "is encrypted or compressed otherwise than NumPy does" in refusal(read, path)


@pytest.mark.parametrize("order", ["C", "F"])
def test_large_arrays_are_mapped_and_checked(order, tmp_path, monkeypatch):
    path, rows = tmp_path / "a.npz", np.random.default_rng(0).normal(size=(70, 9))
    array = np.asarray(rows, np.float32, order=order)
    np.savez(path, small=np.arange(3), large=array)
    monkeypatch.setattr(array_files, "MAPPED", array.nbytes // 2)
    found = read_npz(path, list, "do it again")
    assert isinstance(found["large"], np.memmap)
    assert not isinstance(found["small"], np.memmap)
    np.testing.assert_array_equal(found["large"], array)
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(array.tobytes(order="A")) + 100] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=r"a\.npz: cannot be read \("):
        read_npz(path, list, "do it again")
