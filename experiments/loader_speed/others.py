"""The same batches by torch's DataLoader, with torchvision's transforms: what run.py compares with.

torchvision's wheels on PyPI do not load beside a CPU build of torch, so the five transforms are
written here on Pillow and torch as torchvision writes them: the same draws, the same calls.
"""

import io
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, RandomSampler


class RandomResizedCrop:
    def __init__(self, size: tuple[int, int], scale: tuple, ratio: tuple):
        self.size, self.scale, self.ratio = size, scale, ratio

    def _part(self, image: Image.Image) -> tuple[int, int, int, int]:
        width, height = image.size
        area, log_ratio = height * width, torch.log(torch.tensor(self.ratio))
        for _ in range(10):
            target_area = area * torch.empty(1).uniform_(*self.scale).item()
            aspect = torch.exp(torch.empty(1).uniform_(*log_ratio.tolist())).item()
            w, h = round(math.sqrt(target_area * aspect)), round(math.sqrt(target_area / aspect))
            if 0 < w <= width and 0 < h <= height:
                top = int(torch.randint(0, height - h + 1, size=(1,)).item())
                left = int(torch.randint(0, width - w + 1, size=(1,)).item())
                return top, left, h, w
        side = min(width, height)
        return (height - side) // 2, (width - side) // 2, side, side

    def __call__(self, image: Image.Image) -> Image.Image:
        top, left, h, w = self._part(image)
        part = image.crop((left, top, left + w, top + h))
        return part.resize(self.size[::-1], Image.Resampling.BILINEAR)


class RandomHorizontalFlip:
    def __call__(self, image: Image.Image) -> Image.Image:
        if torch.rand(1) < 0.5:
            return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return image


class ToTensor:
    def __call__(self, image: Image.Image) -> torch.Tensor:
        tensor = torch.from_numpy(np.array(image, np.uint8, copy=True))
        tensor = tensor.view(image.size[1], image.size[0], len(image.getbands()))
        return tensor.permute((2, 0, 1)).contiguous().to(torch.get_default_dtype()).div(255)


class Normalize:
    def __init__(self, mean: tuple, std: tuple):
        self.mean, self.std = mean, std

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.clone()
        mean = torch.as_tensor(self.mean, dtype=tensor.dtype).view(-1, 1, 1)
        std = torch.as_tensor(self.std, dtype=tensor.dtype).view(-1, 1, 1)
        return tensor.sub_(mean).div_(std)


class RandomErasing:
    def __init__(self, p: float, scale: tuple, ratio: tuple = (0.3, 3.3)):
        self.p, self.scale, self.ratio = p, scale, ratio

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        if torch.rand(1) >= self.p:
            return tensor
        _, height, width = tensor.shape
        area, log_ratio = height * width, torch.log(torch.tensor(self.ratio))
        for _ in range(10):
            erase_area = area * torch.empty(1).uniform_(*self.scale).item()
            aspect = torch.exp(torch.empty(1).uniform_(*log_ratio.tolist())).item()
            h, w = round(math.sqrt(erase_area * aspect)), round(math.sqrt(erase_area / aspect))
            if h < height and w < width:
                top = torch.randint(0, height - h + 1, size=(1,)).item()
                left = torch.randint(0, width - w + 1, size=(1,)).item()
                tensor = tensor.clone()
                tensor[..., top : top + h, left : left + w] = 0
                return tensor
        return tensor


class Photos(Dataset):
    """Files and labels, as torchvision's ImageFolder opens them."""

    def __init__(self, paths: list[Path], transforms: list):
        self.paths, self.transforms = paths, transforms

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with self.paths[index].open("rb") as file:
            image = Image.open(io.BytesIO(file.read())).convert("RGB")
        for transform in self.transforms:
            image = transform(image)
        return image, index % 10


def batches(
    folder: Path, size: tuple[int, int], mean: tuple, std: tuple, batch_size: int, workers: int
) -> Iterator[torch.Tensor]:
    """Endless batches of normalised images."""
    torch.set_num_threads(1)
    transforms = [
        RandomResizedCrop(size, (0.2, 1.0), (0.75, 4 / 3)),
        RandomHorizontalFlip(),
        ToTensor(),
        Normalize(mean, std),
        RandomErasing(0.5, (0.02, 0.2)),
    ]
    dataset = Photos(sorted(folder.glob("*/*.jpg")), transforms)
    # One endless epoch, so that no worker is started while it is timed.
    order = RandomSampler(dataset, replacement=True, num_samples=10**8)
    for images, _ in DataLoader(dataset, batch_size, sampler=order, num_workers=workers):
        yield images
