"""The table has what was measured, and PyTorch's networks are the same as ours."""

import jax
import jax.numpy as jnp
import pytest

from darkrank_jax.models import MODELS
from experiments.model_speed.case import Case
from experiments.model_speed.results import read, table, write

SETTINGS = {"batch": 32, "pixels": 96, "dtype": "float32", "pass": "step", "rounds": 3}


def row(network, engine, milliseconds, times_ours):
    times = {"min_ms": milliseconds - 1, "median_ms": milliseconds, "times_ours": times_ours}
    own = {"network": network, "engine": engine, "parameters": 10, "peak_mb": 2 * milliseconds}
    return {**own, **SETTINGS, **times}


def test_table_of_a_written_file_has_ratios_their_means_and_what_has_no_peer(tmp_path):
    path = tmp_path / "results.csv"
    assert read(path) == []
    rows = [
        row("vit_s16", "ours", 8.0, 1.0), row("vit_s16", "eager", 16.0, 2.0),
        row("vit_s16", "compiled", 4.0, 0.5), row("nin_bn", "ours", 5.0, 1.0),
        row("resnet18", "ours", 20.0, 1.0), row("resnet18", "eager", 160.0, 8.0),
        row("resnet18", "compiled", 20.0, 1.0),
    ]  # fmt: skip
    write(path, rows)
    assert sorted(read(path), key=str) == sorted(rows, key=str)
    assert table(read(path), "step").splitlines()[2:] == [
        "| nin_bn | 5.0 | no peer | no peer | no peer | no peer | 10 | no peer | no peer |",
        "| resnet18 | 20.0 | 160.0 | 20.0 | 8.00 | 1.00 | 40 | 320 | 40 |",
        "| vit_s16 | 8.0 | 16.0 | 4.0 | 2.00 | 0.50 | 16 | 32 | 8 |",
        "| geometric mean | | | | 4.00 (0 below 1) | 0.71 (1 below 1) | | | |",
    ]
    assert "resnet18" not in table(read(path), "forward")


@pytest.mark.parametrize(("network", "side"), [("dinov2_s14", 98), ("vit_s16", 96)])
def test_images_are_whole_patches(network, side):
    assert Case(network, 32, 96, "float32").side == side


# Theirs have no embedding layer.
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MODELS.keys() - {"nin_bn"}))
def test_peer_has_as_many_parameters_as_the_network(name):
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchvision")
    pytest.importorskip("timm")
    from experiments.model_speed.torch_peers import peer

    side = Case(name, 1, 96, "float32").side
    with torch.device("meta"):
        theirs = sum(parameter.numel() for parameter in peer(name, side).parameters())
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    backbone = MODELS[name]()
    variables = jax.eval_shape(lambda x: backbone.init(jax.random.key(0), x, train=False), images)
    ours = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert theirs == pytest.approx(ours, rel=0.01)
