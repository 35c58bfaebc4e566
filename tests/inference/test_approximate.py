"""Approximate indexes: faiss reads them, and their recall is that of a slow loop."""

import sys

import faiss
import numpy as np
import pytest

from darkrank_jax.errors import UserError
from darkrank_jax.inference.approximate import KINDS, NEIGHBORS, write_approximate
from tests.marks import slow_but

# As many as codes are learned from, in clusters, as embeddings are.
CENTRES = np.random.default_rng(0).normal(size=(300, 12))
VECTORS = np.repeat(CENTRES, 34, axis=0)[:10_000].astype(np.float32)
VECTORS += 0.3 * np.random.default_rng(1).normal(size=VECTORS.shape).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    slow_but([("ivf_pq", 0.3, 0.9)], [("hnsw", 0.95, 1.0), ("ivf_pq", 0.3, 0.9)]),
)
def test_recall_is_the_share_of_the_nearest_in_what_faiss_reads(kind, least, most, tmp_path):
    path = tmp_path / "a.faiss"
    found = write_approximate(VECTORS, kind, path)
    assert found.path == path
    index = faiss.read_index(str(path))
    assert index.ntotal == len(VECTORS)
    rows = np.linspace(0, len(VECTORS) - 1, 1000).astype(int)
    shares = []
    for row, near in zip(rows, index.search(VECTORS[rows], NEIGHBORS + 1)[1], strict=True):
        distances = ((VECTORS - VECTORS[row]) ** 2).sum(axis=1)
        distances[row] = np.inf
        best = set(np.argsort(distances)[:NEIGHBORS].tolist())
        others = [place for place in near.tolist() if place != row][:NEIGHBORS]
        shares.append(len(best.intersection(others)) / NEIGHBORS)
    assert found.recall == pytest.approx(np.mean(shares), abs=2e-3)
    assert least <= found.recall <= most


def test_codes_are_a_sixteenth_of_the_vectors(tmp_path):
    write_approximate(VECTORS, "ivf_pq", tmp_path / "a.faiss")
    # A byte for four numbers, eight for the row, and what is learned once.
    learned = 4 * 12 * (256 + round(4 * len(VECTORS) ** 0.5))
    assert (tmp_path / "a.faiss").stat().st_size < len(VECTORS) * (3 + 8) + learned + 10_000


def test_one_image_and_two_have_an_index(tmp_path):
    for count in (1, 2):
        assert write_approximate(VECTORS[:count], "hnsw", tmp_path / "a.faiss").recall == 1.0


def test_refuses_what_cannot_be_built(tmp_path, monkeypatch):
    path = tmp_path / "a.faiss"
    with pytest.raises(UserError, match=r"^--index: unknown name 'hnws'; did you mean 'hnsw'\?$"):
        write_approximate(VECTORS, "hnws", path)
    said = r"^--index: must be hnsw for 50 images \(got ivf_pq, whose codes are learned from 9,984"
    with pytest.raises(UserError, match=said):
        write_approximate(VECTORS[:50], "ivf_pq", path)
    monkeypatch.setitem(sys.modules, "faiss", None)
    for kind in KINDS:
        with pytest.raises(UserError, match=r"a\.faiss: needs faiss; run `pip install"):
            write_approximate(VECTORS, kind, path)
    assert not path.exists()
