"""Tensors of a small ResNet, and files of transformers, under other projects' names."""

import pytest
from safetensors.numpy import load_file
from transformer_files import files, golden, rule

from tests.models.resnet_files import ORIGINAL

__all__ = ["files", "golden", "rule"]


@pytest.fixture
def tensors():
    return load_file(ORIGINAL)
