"""The same network in PyTorch, on files that a DataLoader reads."""

import os
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from experiments.embedding_speed.ours import DIM, MEAN, STD
from experiments.model_speed.torch_peers import peer

BATCH = 64


class Photographs(Dataset):
    """Files, resized and cut to the middle."""

    def __init__(self, paths: list[str], pixels: int):
        self.paths = paths
        self.change = transforms.Compose(
            [
                transforms.Resize(pixels),
                transforms.CenterCrop(pixels),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.change(Image.open(self.paths[index]).convert("RGB"))


def embedder(network: str, pixels: int, compiled: bool) -> Callable[[list[str]], np.ndarray]:
    """From paths of files to embeddings [n, DIM]."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    backbone = peer(network, pixels).eval()
    with torch.no_grad():
        features = backbone(torch.zeros(1, 3, pixels, pixels)).shape[-1]
    model = nn.Sequential(backbone, nn.Linear(features, DIM)).eval()
    model = model.to(device, memory_format=torch.channels_last)
    # One shape: the last batch is filled up.
    run = torch.compile(model, dynamic=False) if compiled else model
    loaders = {}

    def embed(paths: list[str]) -> np.ndarray:
        key = tuple(paths)
        if key not in loaders:
            loaders[key] = DataLoader(
                Photographs(paths, pixels),
                BATCH,
                num_workers=os.cpu_count() or 1,
                persistent_workers=True,
                pin_memory=device == "cuda",
            )
        found = []
        with torch.inference_mode():
            for images in loaders[key]:
                filled = torch.cat([images, images[:1].expand(BATCH - len(images), -1, -1, -1)])
                batch = filled.to(device, memory_format=torch.channels_last)
                found.append(functional.normalize(run(batch))[: len(images)].cpu().numpy())
        return np.concatenate(found)

    return embed
