"""How fast the evaluation is, and in how much memory, beside others; README.md has the tables.

    pip install faiss-cpu torch pytorch-metric-learning scikit-learn
    python -m experiments.evaluation_speed.run [--only PART ...] [--largest IMAGES]

Each figure is from a process of its own, on all cores: a first call, which for ours compiles, then
the median of three more; where the first took over 20 s, it alone counts. Peak memory is what the
process grows by over its data and the libraries, as Linux counts it. Embeddings are 512 numbers, of
length one, around centres of their classes.
"""

import argparse
import multiprocessing
import os
import platform
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

DIM, PER_CLASS, NEIGHBORS = 512, 10, 10
SIZES = (10_000, 100_000, 1_000_000)
# A million is searched by fewer, so that the run ends.
QUERIES = {10_000: 10_000, 100_000: 10_000, 1_000_000: 1_000}
# Queries, gallery images, identities and cameras of Market-1501's test set.
MARKET = (3368, 15913, 750, 6)
CALLS, LONG = 3, 20.0
Figures = tuple[float, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="images of the largest rows")
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}\n")
    for part in arguments.only:
        head, rows = PARTS[part]
        print(f"### {part}\n\n{head}\n|{'---|' * (head.count('|') - 1)}")
        for row in rows(arguments.largest):
            print("| " + " | ".join(row) + " |", flush=True)
        print(flush=True)


def _neighbors(largest: int) -> Iterator[tuple[str, ...]]:
    for size in (size for size in SIZES if size <= largest):
        queries = QUERIES[size]
        ours, faiss = (_measured(job, queries, size) for job in ("nearest", "faiss"))
        slow = size <= 100_000
        learn = _measured("scikit_learn", queries, size) if slow else None
        yield (f"{size:,}", f"{queries:,}", *_pair(ours, faiss), *(_one(learn)))


def _retrieval(largest: int) -> Iterator[tuple[str, ...]]:
    for size, job in ((10_000, "calculator"), (100_000, "calculator_to_r")):
        if size <= largest:
            ours, theirs = _measured("retrieval", size), _measured(job, size)
            yield f"{size:,}", _WHAT[job], *_pair(ours, theirs)


def _clustering(largest: int) -> Iterator[tuple[str, ...]]:
    size = min(largest, 10_000)
    ours = _measured("retrieval_and_clusters", size)
    theirs = _measured("calculator_and_clusters", size)
    yield f"{size:,}", "retrieval, NMI and AMI, pytorch-metric-learning", *_pair(ours, theirs)
    ours, theirs = _measured("kmeans", size), _measured("scikit_learn_kmeans", size)
    yield f"{size:,}", "k-means alone, scikit-learn", *_pair(ours, theirs)


def _reid(largest: int) -> Iterator[tuple[str, ...]]:
    part = min(1.0, largest / MARKET[1])
    for name, ours, theirs in (
        ("CMC, mAP, mINP, the usual loop", "reid", "reid_loop"),
        ("the same, the loop's list replaced by arrays", "reid", "reid_arrays"),
        ("re-ranking", "rerank", "dense_reranking"),
    ):
        yield name, *_pair(_measured(ours, part), _measured(theirs, part))


def _coarse(largest: int) -> Iterator[tuple[str, ...]]:
    size = min(largest, 100_000)
    with _process() as pool:
        for name, recall, share in pool.submit(_recalls, 1000, size).result():
            yield f"{size:,}", name, f"{share:.2f}", f"{recall:.4f}"


def _million(largest: int) -> Iterator[tuple[str, ...]]:
    size = min(largest, 100_000)
    seconds, grown = _measured("nearest", size, size)
    times = (1_000_000 / size) ** 2
    yield f"{size:,} x {size:,}", "measured", f"{seconds / 60:.1f} min", f"{grown:.0f}"
    hours = seconds * times / 3600
    # What grows with the queries: the results, 8 bytes a neighbour, twice while they are joined.
    more = 2 * (1_000_000 - size) * NEIGHBORS * 8 / 2**20
    yield "1,000,000 x 1,000,000", "on paper", f"{hours:.1f} h", f"{grown + more:.0f}"


PARTS: dict[str, tuple[str, Callable[[int], Iterator[tuple[str, ...]]]]] = {
    "neighbors": (
        "| gallery | queries | ours, s | faiss, s | faiss / ours | ours, MiB | faiss, MiB "
        "| scikit-learn, s | MiB |",
        _neighbors,
    ),
    "retrieval": (
        "| images | what | ours, s | theirs, s | theirs / ours | ours, MiB | theirs, MiB |",
        _retrieval,
    ),
    "clustering": (
        "| images | what | ours, s | theirs, s | theirs / ours | ours, MiB | theirs, MiB |",
        _clustering,
    ),
    "reid": ("| what | ours, s | NumPy, s | NumPy / ours | ours, MiB | NumPy, MiB |", _reid),
    "coarse": ("| gallery | type | memory | recall@10 |", _coarse),
    "million": ("| search | | time | MiB |", _million),
}
_WHAT = {
    "calculator": "whole gallery ranked",
    "calculator_to_r": "theirs ranks the first R alone: AP is cut off",
}


def _job(name: str, *sizes: Any) -> Callable[[], Any]:
    """What is measured, by its name; data are made here, outside of the time."""
    from darkrank_jax.evaluation import clustering, neighbors, reid, reranking, retrieval

    if name in ("nearest", "faiss", "scikit_learn"):
        rows = _embeddings(sum(sizes))
        sets = rows[: sizes[0]], rows[sizes[0] :]
        if name == "nearest":
            return lambda: neighbors.nearest_neighbors(*sets, k=NEIGHBORS)
        others = _others()
        search = others.faiss_flat if name == "faiss" else others.scikit_learn_neighbors
        return lambda: search(*sets, NEIGHBORS)
    if name in ("reid", "reid_loop", "reid_arrays", "rerank", "dense_reranking"):
        queries, gallery, people = _market(*sizes)
        return {
            "reid": lambda: reid.reid_metrics(queries, gallery, **people, ks=range(1, 51)),
            "reid_loop": lambda: _others().reid_loop(queries, gallery, **people),
            "reid_arrays": lambda: _others().reid_loop(
                queries, gallery, **people, whole_columns=True
            ),
            "rerank": lambda: reranking.rerank(queries, gallery),
            "dense_reranking": lambda: _others().dense_reranking(queries, gallery),
        }[name]
    import jax

    rows, labels = _embeddings(sizes[0]), np.arange(sizes[0]) // PER_CLASS
    clusters, key = int(labels.max()) + 1, jax.random.key(0)
    return {
        "retrieval": lambda: retrieval.retrieval_metrics(rows, labels),
        "calculator": lambda: _calculator(rows, labels, k=None),
        "calculator_to_r": lambda: _calculator(rows, labels, k="max_bin_count"),
        "retrieval_and_clusters": lambda: (
            retrieval.retrieval_metrics(rows, labels),
            clustering.clustering_metrics(rows, labels, key=key),
        ),
        "calculator_and_clusters": lambda: _calculator(rows, labels, k=None, clustering=True),
        "kmeans": lambda: jax.block_until_ready(
            clustering.kmeans(jax.numpy.asarray(rows), num_clusters=clusters, key=key)
        ),
        "scikit_learn_kmeans": lambda: _others().scikit_learn_kmeans(rows, clusters),
    }[name]


def _others() -> Any:
    """PyTorch and faiss are loaded only where they are measured."""
    from experiments.evaluation_speed import others

    return others


def _calculator(rows: np.ndarray, labels: np.ndarray, *, k: Any, clustering: bool = False) -> Any:
    return _others().accuracy_calculator(rows, labels, k=k, clustering=clustering)


def _embeddings(count: int) -> np.ndarray:
    rng = np.random.default_rng(count)
    rows = rng.standard_normal((count, DIM), np.float32)
    centres = rng.standard_normal((-(-count // PER_CLASS), DIM), np.float32)
    for start in range(0, count, PER_CLASS * 1000):
        tile = rows[start : start + PER_CLASS * 1000]
        tile += (
            0.5 * np.repeat(centres[start // PER_CLASS :][:1000], PER_CLASS, axis=0)[: len(tile)]
        )
        tile /= np.linalg.norm(tile, axis=1)[:, None]
    return rows


def _market(part: float) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Random people in the numbers of Market-1501, or in a part of them."""
    queries, gallery, people, cameras = (max(2, int(part * size)) for size in MARKET)
    rng = np.random.default_rng(0)
    ids = rng.integers(people, size=queries + gallery)
    seen = rng.integers(max(cameras, 6), size=queries + gallery)
    rows = rng.standard_normal((people, DIM), np.float32)[ids]
    rows += 2 * rng.standard_normal(rows.shape, np.float32)
    rows /= np.linalg.norm(rows, axis=1)[:, None]
    labels = {
        "query_ids": ids[:queries],
        "gallery_ids": ids[queries:],
        "query_cameras": seen[:queries],
        "gallery_cameras": seen[queries:],
    }
    return rows[:queries], rows[queries:], labels


# Sizes at which a job only loads its libraries.
_SMALL = {"nearest": (50, 50), "faiss": (50, 50), "scikit_learn": (50, 50)}
_SMALL |= dict.fromkeys(("reid", "reid_loop", "reid_arrays", "rerank", "dense_reranking"), (0.02,))


def _measured(name: str, *sizes: Any) -> Figures:
    """Seconds of a call, and MiB that a fresh process grows by."""
    with _process() as pool:
        return pool.submit(_figures, name, *sizes).result()


def _process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def _figures(name: str, *sizes: Any) -> Figures:
    job = _job(name, *sizes)
    _job(name, *_SMALL.get(name, (200,)))()
    before, taken = _forget_peak(), []
    for call in range(1 + CALLS):
        start = time.perf_counter()
        job()
        taken.append(time.perf_counter() - start)
        if call == 0 and taken[0] > LONG:
            return taken[0], _largest_size() - before
    return median(taken[1:]), _largest_size() - before


def _recalls(queries: int, size: int) -> list[tuple[str, float, float]]:
    """Share of the true nearest that a coarser gallery finds, and its memory to float32's."""
    import jax.numpy as jnp

    from darkrank_jax.evaluation.gallery_rows import to_int8
    from darkrank_jax.evaluation.neighbors import nearest_neighbors

    rows = _embeddings(queries + size)
    sought, gallery = rows[:queries], rows[queries:]
    true = nearest_neighbors(sought, gallery, k=NEIGHBORS)[1]
    coarse = {"bfloat16": gallery.astype(jnp.bfloat16), "int8": to_int8(gallery)}
    lines = []
    for name, stored in coarse.items():
        found = nearest_neighbors(sought, stored, k=NEIGHBORS)[1]
        recall = np.mean([len(set(a) & set(b)) for a, b in zip(found, true, strict=True)])
        arrays = stored if isinstance(stored, tuple) else (stored,)
        share = sum(array.nbytes for array in arrays) / gallery.nbytes
        lines.append((name, float(recall) / NEIGHBORS, share))
    return lines


def _pair(ours: Figures, theirs: Figures) -> tuple[str, ...]:
    ratio = f"{theirs[0] / ours[0]:.1f}"
    return f"{ours[0]:.2f}", f"{theirs[0]:.2f}", ratio, f"{ours[1]:.0f}", f"{theirs[1]:.0f}"


def _one(found: Figures | None) -> tuple[str, str]:
    return (f"{found[0]:.2f}", f"{found[1]:.0f}") if found else ("", "")


def _forget_peak() -> float:
    """The size of the process, from which its largest size counts again."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return _largest_size()


def _largest_size() -> float:
    """MiB, as Linux counts them."""
    (line,) = re.findall(
        r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8")
    )
    return int(line) / 1024


if __name__ == "__main__":
    main()
