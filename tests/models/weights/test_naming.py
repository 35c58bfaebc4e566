"""Layouts of tensors in files: their shapes, and the variable that comes out."""

import numpy as np
import pytest

from darkrank_jax.models.weights import naming

# Shape of the variable with PyTorch's axes -> source, shapes in the file, and the variable by hand.
CASES = {
    "whole": (naming.whole("a"), (4, 3), [(4, 3)], lambda a: a),
    "stacked": (
        naming.stacked("q", "k"),
        (6, 2),
        [(3, 2), (3, 2)],
        lambda q, k: np.array([*q, *k]),
    ),
    "rows": (naming.rows("a", 1, 3, 3), (4, 5), [(6, 5)], lambda a: a[2:6]),
    "transposed": (naming.transposed("a"), (4, 3), [(3, 4)], lambda a: a.swapaxes(0, 1)),
    "vector": (naming.vector("a"), (1, 1, 5), [(5,)], lambda a: a.reshape(1, 1, 5)),
    "table": (naming.table("a"), (1, 4, 5), [(4, 5)], lambda a: a[np.newaxis]),
    "axes before": (naming.last_axis("a", before=2), (5,), [(1, 1, 5)], lambda a: a[0, 0]),
    "axes after": (naming.last_axis("a", after=2), (5, 1, 1), [(5,)], lambda a: a[:, None, None]),
    "flat patches": (
        naming.flat_patches("a"),
        (4, 3, 2, 2),
        [(4, 12)],
        # Rows, columns, channels in the file; channels first in the variable.
        lambda a: np.stack([a[:, channel::3].reshape(4, 2, 2) for channel in range(3)], 1),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_variable_is_read_from_the_tensors_of_its_layout(case):
    source, shape, shapes, by_hand = CASES[case]
    assert list(map(tuple, source.layout.shapes(shape))) == shapes
    assert len(source.names) == len(shapes)
    rng = np.random.default_rng(0)
    tensors = [rng.normal(size=each) for each in shapes]
    found = source.layout.join(tensors)
    assert found.shape == shape
    np.testing.assert_array_equal(found, by_hand(*tensors))


def test_names_in_blocks_and_beside_the_root_are_those_of_the_table():
    names = {"norm": "ln", "attn.qkv": naming.stacked("q", "k_{}"), "cls_token": "token"}
    source = naming.by_table(names, "layers.{}", root="vision.", beside_root=("head",))

    def of(*variable):
        return source(("params", *variable)).names

    assert of("norm", "scale") == ("vision.ln.weight",)
    assert of("blocks.12", "attn.qkv", "bias") == (
        "vision.layers.12.q.bias",
        "vision.layers.12.k_bias",
    )
    assert of("cls_token") == ("vision.token",)
    assert of("head", "kernel") == ("head.weight",)
    assert of("other", "kernel") == ("vision.other.weight",)
