"""Runs of which only what they leave is made up: results and stored embeddings."""

import numpy as np

from darkrank_jax.config.reader import read_run
from darkrank_jax.distributed.mesh import make_mesh
from darkrank_jax.runs.datasets import DatasetSource
from darkrank_jax.runs.evaluate import evaluate, save_embeddings
from darkrank_jax.runs.results import write_results
from darkrank_jax.runs.splits import Splits
from tests import tiny_config


def finished_run(folder, noise, **options):
    """A run whose student is as good as the noise lets it be, measured on glyphs."""
    config = tiny_config.get_config().unlock()
    config.data.options.update(options)
    run, folder = read_run(config.to_dict()), folder / f"noise {noise}"
    folder.mkdir()
    rng, labels = np.random.default_rng(round(100 * noise)), np.repeat(np.arange(5), 4)
    networks = {}
    for name, scale in (("baseline", 2 * noise), ("student", noise)):
        rows = np.eye(5)[labels] + scale * rng.normal(size=(20, 5))
        np.savez(folder / f"{name}.npz", embeddings=rows, labels=labels)
        networks[name] = {"test": folder / f"{name}.npz"}
    source = {"test": DatasetSource(run.data, "test")}
    results, measured = evaluate(folder.name, networks, source, Splits(), make_mesh(4), seed=3)
    save_embeddings(folder / "embeddings", measured)
    write_results(folder / "results.json", results)
    return folder
