"""A workdir's run.json as training writes it."""

from darkrank_jax.config.description import describe
from darkrank_jax.config.registered import needs_of
from darkrank_jax.workdir import run_file


def claim(workdir, run, *, channels, num_classes, digests=None):
    """Claims a workdir for a run whose data has these sizes."""
    facts = {"run": describe(run), "channels": channels, "num_classes": num_classes}
    facts |= {"identity": digests or {}} | needs_of(run.data, run.losses)
    run_file.claim(workdir, facts)
