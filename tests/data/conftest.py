"""A cache of images' facts for one test alone."""

import pytest


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("DARKRANK_CACHE", str(folder))
    return folder
