"""The tiny run on a user's own images."""

from ml_collections import ConfigDict

from tests.tiny_config import small


def get_config() -> ConfigDict:
    config = small()
    config.data.source = "images"
    config.data.options = ConfigDict({"tolerated": 0.01})
    config.losses = ConfigDict({"triplet": {"weight": 1.0}})
    return config.lock()
