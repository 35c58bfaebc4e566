"""Tensors of a small ResNet with torchvision's names."""

import pytest
from safetensors.numpy import load_file

from tests.models.resnet_files import ORIGINAL


@pytest.fixture
def tensors():
    return load_file(ORIGINAL)
