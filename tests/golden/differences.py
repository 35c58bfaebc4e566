"""Prints the table of docs/pretrained.md: how far networks here are from transformers' own.

    python tests/golden/differences.py

The greatest difference of an embedding, and of the mean of the last patches, relative to the
largest value of the reference.
"""

import json
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
from transformer_files import NETWORKS, small  # noqa: E402
from transformers_models import SIZES, images, parameter  # noqa: E402


def main() -> None:
    """Prints a row for each network."""
    golden = np.load(HERE / "transformers_models.npz")
    print("| network | in `MODELS` | 32 x 32, its own | 48 x 24 |\n|---|---|---|---|")
    for name, (model, options) in NETWORKS.items():
        lines = [line.split(" ") for line in golden[f"{name}/tensors"]]
        tensors = {k: parameter(k, tuple(map(int, shape.split("x")))) for k, shape in lines}
        given = "".join(f", `{k}={json.dumps(v)}`" for k, v in options.items() if k != "projection")
        cells = [f"{difference(name, tensors, golden, size):.0e}" for size in SIZES]
        print(f"| {name} | `{model}`{given} | {' | '.join(cells)} |")


def difference(name: str, tensors: dict, golden, size: tuple[int, int]) -> float:
    """The greatest relative difference of a network at a size."""
    from darkrank_jax.models.pretrained import load_weights

    backbone = small(name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_file(tensors, path)
        variables = load_weights(path, backbone, image_shape=(*size, 3))
    apply = jax.jit(lambda v, x: backbone.apply(v, x, train=False))
    maps = apply(variables, jnp.asarray(images(*size)))
    expected = golden[f"{name}/{size[0]}x{size[1]}"]
    parts = np.split(expected, [maps[2].shape[-1]], axis=1)
    found = (maps[2][:, 0, 0], maps[1].mean(axis=(1, 2)))
    pairs = zip(found, parts, strict=True)
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


if __name__ == "__main__":
    main()
