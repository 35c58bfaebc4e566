"""Tensors in safetensors files, and how variables and refusals compare."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from darkrank_jax.errors import UserError


def same(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


def refusal(function, *arguments, **options):
    with pytest.raises(UserError) as error:
        function(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def saved(tensors, path):
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path)
    return path


def sharded(tensors, folder):
    """The index of tensors in two files, as repositories have them."""
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for part, held in parts.items():
        saved({name: tensors[name] for name in held}, folder / part)
    places = {name: part for part, held in parts.items() for name in held}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index
