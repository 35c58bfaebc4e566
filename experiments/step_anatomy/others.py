"""The parts of the same step in PyTorch, eager or compiled, as people write it there."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional

from darkrank_jax.models.backbones.resnet import DEPTHS
from experiments.loss_speed.torch_relations import (
    darkrank_hard_cumulative,
    darkrank_soft,
    distances,
    rkd_angle,
    rkd_distance,
)
from experiments.step_anatomy import batch as batches
from experiments.step_anatomy.batch import LOSSES, Engine, Part, Sizes


class Block(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3, 1x1, beside a shortcut."""

    def __init__(self, inputs: int, features: int, stride: int, bottleneck: bool):
        super().__init__()
        outputs = 4 * features if bottleneck else features
        sizes = [
            (inputs, features, 1, 1),
            (features, features, 3, stride),
            (features, outputs, 1, 1),
        ]
        if not bottleneck:
            sizes = [(inputs, features, 3, stride), (features, features, 3, 1)]
        self.layers = nn.ModuleList(_layer(*size) for size in sizes)
        changes = stride != 1 or inputs != outputs
        self.shortcut = _layer(inputs, outputs, 1, stride) if changes else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for layer in self.layers[:-1]:
            y = functional.relu(layer(y))
        return functional.relu(self.layers[-1](y) + self.shortcut(x))


class Network(nn.Module):
    """A ResNet and its embedding."""

    def __init__(self, name: str):
        super().__init__()
        depths, bottleneck = DEPTHS[name]
        inputs, blocks = 64, []
        for stage, count in enumerate(depths):
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(Block(inputs, 64 * 2**stage, stride, bottleneck))
                inputs = 64 * 2**stage * (4 if bottleneck else 1)
        stem = [_layer(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        self.backbone = nn.Sequential(*stem, *blocks)
        self.embedding = nn.Linear(inputs, batches.DIM)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = (images.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
        features = self.backbone(x).float().mean(dim=(2, 3))
        return functional.normalize(self.embedding(features))


def engine(sizes: Sizes, compiled: bool) -> Engine:
    """The step in PyTorch."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # XLA tries its convolutions too.
    torch.backends.cudnn.benchmark = True

    def made(function: Callable) -> Callable:
        return torch.compile(function, dynamic=False) if compiled else function

    def cast() -> torch.autocast:
        return torch.autocast(device, torch.bfloat16, enabled=sizes.dtype == "bfloat16")

    def placed(array: object) -> torch.Tensor:
        return torch.as_tensor(array).to(device)

    student, teacher = (
        Network(name).to(device, memory_format=torch.channels_last)
        for name in (batches.STUDENT, batches.TEACHER)
    )
    teacher.eval()
    student_fn, teacher_fn = made(student), made(teacher)
    optimizer = torch.optim.AdamW(student.parameters(), 1e-3, weight_decay=1e-4)
    all_images, all_labels = batches.images(sizes)
    host, labels = torch.as_tensor(all_images[: sizes.batch]), placed(all_labels[: sizes.batch])
    if device == "cuda":
        # As a DataLoader does with pin_memory, so that copies wait for nothing.
        host = host.pin_memory()
    there = placed(host)
    rows, said = map(placed, batches.embeddings(sizes))
    known = _losses(sizes.batch, labels.long(), device)

    def total(names: tuple[str, ...], student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return sum(LOSSES[name]["weight"] * known[name](student, teacher) for name in names)

    totals = {(name,): made(lambda s, t, name=name: total((name,), s, t)) for name in LOSSES}
    totals[tuple(LOSSES)] = made(lambda s, t: total(tuple(LOSSES), s, t))

    def teach(images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), cast():
            return teacher_fn(images)

    def forward(images: torch.Tensor) -> torch.Tensor:
        with cast():
            return student_fn(images)

    def forward_and_backward() -> None:
        optimizer.zero_grad()
        (forward(there) * rows).sum().backward()

    def loss_of(names: tuple[str, ...]) -> Part:
        inputs = rows.clone().requires_grad_()

        def run() -> None:
            inputs.grad = None
            totals[names](inputs, said).backward()

        return run

    def step(names: tuple[str, ...], tell: Callable[[torch.Tensor], torch.Tensor]) -> None:
        images = host.to(device, non_blocking=True)
        optimizer.zero_grad()
        totals[names](forward(images), tell(images)).backward()
        optimizer.step()

    def stored(_: torch.Tensor) -> torch.Tensor:
        return said

    everything = tuple(LOSSES)
    parts: dict[str, Part] = {
        "teacher": lambda: teach(there),
        "student forward": lambda: forward(there),
        "student forward and backward": forward_and_backward,
        **{name: loss_of((name,)) for name in LOSSES},
        "all losses": loss_of(everything),
        "optimizer": optimizer.step,
        "step": lambda: step(everything, teach),
        "step, teacher stored": lambda: step(everything, stored),
        "step, student alone": lambda: step(("triplet",), stored),
    }
    queues = device == "cuda"
    return Engine(parts, lambda _: torch.cuda.synchronize() if queues else None, queues, 0, _traced)


@contextmanager
def _traced(folder: str) -> Iterator[None]:
    """Writes what runs meanwhile into a file of the folder."""
    with torch.profiler.profile() as profile:
        yield
    os.makedirs(folder, exist_ok=True)
    profile.export_chrome_trace(os.path.join(folder, "trace.json.gz"))


def _layer(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


def _losses(batch: int, labels: torch.Tensor, device: str) -> dict[str, Callable]:
    """Each of the student's and the teacher's embeddings."""
    same = labels[:, None] == labels[None, :]
    others = ~torch.eye(batch, dtype=torch.bool, device=labels.device)
    triplets = (same & others)[:, :, None] & ~same[:, None, :]
    margin = LOSSES["triplet"]["margin"]

    def triplet(student: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        lengths = distances(student)
        losses = (lengths[:, :, None] - lengths[:, None, :] + margin).relu() * triplets
        return losses.sum() / (losses > 0).sum().clamp(min=1)

    return {
        "triplet": triplet,
        "darkrank_hard": darkrank_hard_cumulative(batch - 1),
        "darkrank_soft": darkrank_soft(LOSSES["darkrank_soft"]["list_size"], device),
        "rkd_distance": rkd_distance,
        "rkd_angle": rkd_angle,
    }
