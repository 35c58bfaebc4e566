"""Forward pass and training step of the same network in PyTorch, eager or compiled."""

import torch
from torch import nn
from torch.nn import functional

from experiments.model_speed import case as cases
from experiments.model_speed.case import Case, Engine
from experiments.model_speed.torch_peers import peer


class _Embedding(nn.Module):
    """A backbone under the same head as here."""

    def __init__(self, backbone: nn.Module, features: int):
        super().__init__()
        self.backbone, self.embedding = backbone, nn.Linear(features, cases.DIM)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return functional.normalize(self.embedding(self.backbone(images)).float())


def engine(case: Case, compiled: bool) -> Engine | None:
    """The same network; None: it has no peer."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # XLA tries convolutions too, and multiplies float32 of convolutions by TF32's bits.
    torch.backends.cudnn.benchmark = True
    backbone = peer(case.network, case.side)
    if backbone is None:
        return None
    images = torch.as_tensor(cases.images(case)).permute(0, 3, 1, 2)
    with torch.no_grad():
        features = backbone.eval()(images[:1].contiguous()).shape[-1]
    model = _Embedding(backbone, features).to(device, memory_format=torch.channels_last)
    images = images.to(device, memory_format=torch.channels_last)
    targets = torch.as_tensor(cases.targets(case)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), cases.LEARNING_RATE, cases.MOMENTUM)
    run = torch.compile(model, dynamic=False) if compiled else model

    def cast() -> torch.autocast:
        return torch.autocast(device, torch.bfloat16, enabled=case.dtype == "bfloat16")

    def forward() -> torch.Tensor:
        model.eval()
        with torch.no_grad(), cast():
            return run(images)

    def step() -> torch.Tensor:
        model.train()
        optimizer.zero_grad()
        with cast():
            embeddings = run(images)
        loss = ((embeddings - targets) ** 2).sum(-1).mean()
        loss.backward()
        optimizer.step()
        return loss

    queues = device == "cuda"
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Engine(
        {"forward": forward, "step": step},
        lambda _: torch.cuda.synchronize() if queues else None,
        parameters,
        torch.cuda.max_memory_allocated if queues else None,
    )
