"""Prints the table of docs/pretrained.md: how far networks here are from other implementations.

    python tests/golden/differences.py

The greatest difference, relative to the largest value of the reference: of the embedding and of the
mean of the last patches of Hugging Face's transformers, of the pooled last map of other networks.
"""

import json
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]
from transformer_files import CONVNEXTS, NETWORKS, loaded, small  # noqa: E402
from transformers_models import SIZES, images, parameter  # noqa: E402

from tests.models.backbones import architectures  # noqa: E402

# Of networks that their name in MODELS does not tell apart, or whose shape it has not.
LABELS = {
    "siglip2_naflex": "`siglip_b16`, NaFlex",
    "convnext": "ConvNeXt of three stages",
    "convnextv2": "ConvNeXt V2 of three stages",
}


def main() -> None:
    """Prints a row for each network."""
    print("| network | names | at its own size | at another |\n|---|---|---|---|")
    with np.load(HERE / "transformers_models.npz") as arrays:
        golden = dict(arrays)
    with tempfile.TemporaryDirectory() as folder:
        for name, (model, options) in (NETWORKS | {n: (n, {}) for n in CONVNEXTS}).items():
            given = "".join(
                f", `{k}={json.dumps(v)}`" for k, v in options.items() if k != "projection"
            )
            found = {size: of_transformers(name, golden, size, Path(folder)) for size in SIZES}
            print(row(LABELS.get(name, f"`{model}`{given}"), "Hugging Face", found))
        for name, (owner, _) in architectures.NETWORKS.items():
            sizes = architectures.load_rule().sizes(name)
            found = {
                size: architectures.difference(name, Path(folder), place)
                for place, size in enumerate(sizes)
            }
            print(row(f"`{name.removeprefix('timm_')}`", owner, found))


def row(network: str, owner: str, found: dict[tuple[int, int], float]) -> str:
    """A row of the table, from difference by size."""
    cells = [f"{value:.0e} ({height} x {width})" for (height, width), value in found.items()]
    return f"| {' | '.join([network, owner, *cells])} |"


def of_transformers(name: str, golden, size: tuple[int, int], folder: Path) -> float:
    """The greatest relative difference of a network of Hugging Face's at a size."""
    lines = [line.split(" ") for line in golden[f"{name}/tensors"]]
    tensors = {k: parameter(k, tuple(map(int, shape.split("x")))) for k, shape in lines}
    backbone = small(name)
    variables = loaded(tensors, folder, backbone, size)
    apply = jax.jit(lambda v, x: backbone.apply(v, x, train=False))
    maps = apply(variables, jnp.asarray(images(*size)))
    found = (maps[-1].mean(axis=(1, 2)), maps[-1].max(axis=(1, 2)))
    if name in NETWORKS:
        found = (maps[2][:, 0, 0], maps[1].mean(axis=(1, 2)))
    parts = np.split(golden[f"{name}/{size[0]}x{size[1]}"], [found[0].shape[1]], axis=1)
    pairs = zip(found, parts, strict=True)
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


if __name__ == "__main__":
    main()
