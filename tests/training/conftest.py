"""A source of images with names, for one test alone."""

import pytest

from darkrank_jax.data import SOURCES
from darkrank_jax.training import preflight
from tests.training.small_runs import colored


@pytest.fixture
def source(monkeypatch):
    monkeypatch.setitem(SOURCES, "colored", colored)
    yield
    preflight._load.cache_clear()
