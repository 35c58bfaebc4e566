"""The ResNets of `darkrank_jax.models` in PyTorch, to run the same weights there."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from darkrank_jax.models.backbones.resnet import DEPTHS


class Block(nn.Module):
    def __init__(self, inputs: int, features: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, features, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(features)
        self.conv2 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(features)
        self.downsample = None
        if stride != 1 or inputs != features:
            convolution = nn.Conv2d(inputs, features, 1, stride, bias=False)
            self.downsample = nn.Sequential(convolution, nn.BatchNorm2d(features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class Backbone(nn.Module):
    def __init__(self, blocks: tuple[int, ...], width: int, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for stage, count in enumerate(blocks):
            features = width * 2**stage
            layers = []
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                layers.append(Block(inputs, features, stride))
                inputs = features
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return x.mean(dim=(2, 3))


class Network(nn.Module):
    def __init__(self, facts: dict):
        super().__init__()
        model = facts["model"]
        blocks, bottleneck = DEPTHS[model["name"]]
        if bottleneck or model["stem"] != "strided" or model["pooling"] != "average":
            raise ValueError(f"only basic ResNets of a strided stem are here, not {model}")
        self.backbone = Backbone(blocks, model["width"], facts["image_shape"][2])
        self.embedding = nn.Linear(model["width"] * 8, model["embedding_dim"])
        self.mean, self.std = facts["mean"], facts["std"]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = (images.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        return functional.normalize(self.embedding(self.backbone(x)))


def load(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """A compiled function from uint8 images [n, h, w, c] to embeddings."""
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["darkrank_jax"])
    network = Network(facts).eval()
    missing, surplus = network.load_state_dict(load_file(path), strict=False)
    if surplus or any(not name.endswith("num_batches_tracked") for name in missing):
        raise ValueError(f"{path}: misses {missing}, has {surplus} too many")
    compiled = torch.compile(network, dynamic=False)

    def embed(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return compiled(torch.from_numpy(np.ascontiguousarray(images))).numpy()

    return embed
