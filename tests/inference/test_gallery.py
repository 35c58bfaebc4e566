"""Galleries: stored vectors and ids come back whole, or are refused."""

import json
import sys

import numpy as np
import pytest

from darkrank_jax.errors import UserError
from darkrank_jax.inference.gallery import Gallery, read_gallery, write_gallery
from darkrank_jax.inference.search import search

SUFFIXES = (".npz", ".parquet", ".faiss")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_galleries_come_back_whole(suffix, gallery, tmp_path):
    known = read_gallery(gallery)
    path = tmp_path / f"a{suffix}"
    write_gallery(known, path)
    again = read_gallery(path)
    assert again.ids.tolist() == known.ids.tolist()
    assert again.labels.tolist() == known.labels.tolist()
    np.testing.assert_array_equal(again.vectors, known.vectors)
    assert again.facts == known.facts
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=rf"^{path}: cannot be read \("):
        read_gallery(path)


@pytest.mark.parametrize(("suffix", "module"), [(".parquet", "pyarrow")])
def test_says_which_library_is_missing(suffix, module, gallery, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"needs {module}.*; run `pip install"):
        write_gallery(read_gallery(gallery), tmp_path / f"a{suffix}")


def test_a_pickle_in_a_gallery_is_not_opened(tmp_path):
    path = tmp_path / "evil.npz"
    ids, facts = np.array([{"a": 1}], object), json.dumps({"schema": 1})
    np.savez(path, ids=ids, labels=["a"], vectors=[[1.0]], facts=facts)
    with pytest.raises(UserError, match="cannot be read"):
        read_gallery(path)


def test_a_gallery_of_a_later_version_is_refused(gallery, workdir, tmp_path):
    known = read_gallery(gallery)
    write_gallery(known._replace(facts=known.facts | {"schema": 2}), tmp_path / "later.npz")
    with pytest.raises(UserError, match="is of layout 2, and this version reads 1; update"):
        search(workdir, query="none.png", gallery=str(tmp_path / "later.npz"))


def test_a_gallery_has_as_many_ids_as_vectors(gallery, tmp_path):
    known = read_gallery(gallery)
    write_gallery(Gallery(known.ids[1:], *known[1:]), tmp_path / "a.npz")
    with pytest.raises(UserError, match="has 19 ids for 20 vectors; embed the images again"):
        read_gallery(tmp_path / "a.npz")
