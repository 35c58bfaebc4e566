"""Exports of one drawn network."""

import numpy as np
import pytest

import darkrank_jax
from darkrank_jax.export import deviation
from darkrank_jax.export.command import export_run


@pytest.fixture(scope="session")
def exported(workdir):
    """The folder with every format."""
    with pytest.MonkeyPatch.context() as patch:
        # A network that never learnt ranks 20 images by chance.
        patch.setattr(deviation, "RECALL", 1.0)
        export_run(workdir)
    return workdir / "export"


@pytest.fixture(scope="session")
def network(workdir):
    """The network that was exported."""
    return darkrank_jax.load_run(workdir)


@pytest.fixture(scope="session")
def images():
    return np.random.default_rng(5).integers(0, 256, (5, 16, 16, 1), np.uint8)
