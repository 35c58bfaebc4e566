"""NumPy's files from strangers."""

import zipfile

import pytest

from tests.evaluation.test_embedding_files import VECTORS, npy, read, refusal, zipped


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
