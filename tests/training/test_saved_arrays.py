"""Arrays of a checkpoint that are not whole."""

import shutil

import pytest
import tensorstore

from darkrank_jax.training.saved_arrays import missing_arrays

NAME = "model.embedding.kernel"


@pytest.mark.parametrize("part", [".zarray", "0.0", ""])
def test_an_array_without_shape_or_data_is_missing(part, workdir, tmp_path):
    item = shutil.copytree(workdir / "checkpoints" / "3" / "params", tmp_path / "params")
    assert missing_arrays(item) == []
    store = tensorstore.KvStore.open(
        {"driver": "ocdbt", "base": {"driver": "file", "path": f"{item}/"}}
    ).result()
    keys = [key for key in store.list().result() if key.decode().startswith(f"{NAME}/{part}")]
    assert keys
    for key in keys:
        store.delete_range(tensorstore.KvStore.KeyRange(key, key + b"\0")).result()
    assert missing_arrays(item) == [NAME]


def test_a_list_of_arrays_that_is_damaged_is_an_error(workdir, tmp_path):
    item = shutil.copytree(workdir / "checkpoints" / "3" / "params", tmp_path / "params")
    (item / "_METADATA").write_text("{")
    with pytest.raises(ValueError, match="Expecting"):
        missing_arrays(item)
    (item / "_METADATA").unlink()
    with pytest.raises(FileNotFoundError):
        missing_arrays(item)
