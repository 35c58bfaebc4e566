"""A results.json with every field that is read back, for runs that are only pretended."""

from darkrank_jax.runs.results import METRICS, SCHEMA

WHOLE = {
    "schema": SCHEMA,
    "name": "pretended",
    "seed": 4,
    "devices": "none",
    "dataset": {
        "name": "glyphs test",
        "source": "glyphs",
        "split": "test",
        "images": 8,
        "classes": 2,
        "queries": 8,
    },
    "networks": {"network": {"metrics": dict.fromkeys(METRICS, 0.0), "best_step": 6}},
}
