"""ONNX graphs in the making: what is computed stands in the file, and nothing else."""

import numpy as np
import onnxruntime
import pytest

from darkrank_jax.errors import UserError
from darkrank_jax.export.onnx_graph import INPUT, OUTPUT, Graph, Tensor, onnx_model, untranslated


def run(graph, shape, dim, images):
    model = onnx_model(graph, shape, dim, {"key": "text"})
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return model, session.run(None, {INPUT: images})[0]


def test_a_model_holds_only_what_its_output_needs():
    graph, images = Graph(), Tensor(INPUT, ("b", 2, 3, 1), (0, 1, 2, 3))
    graph.add("Neg", [graph.add("Cast", [images.name], shape=images.shape, to=1).name], shape=())
    numbers = graph.add("Cast", [images.name], shape=images.shape, to=1)
    flat = graph.add("Flatten", [numbers.name], shape=("b", 6))
    weights = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    graph.add("MatMul", [flat.name, graph.constant(weights)], shape=("b", 2), name=OUTPUT)
    pixels = np.random.default_rng(1).integers(0, 256, (3, 2, 3, 1), np.uint8)
    model, found = run(graph, (2, 3, 1), 2, pixels)
    np.testing.assert_allclose(found, pixels.reshape(3, 6) @ weights, rtol=1e-5)
    assert [node.op_type for node in model.graph.node] == ["Cast", "Flatten", "MatMul"]
    assert {entry.key: entry.value for entry in model.metadata_props} == {"key": "text"}


def test_axes_move_only_where_the_layout_differs():
    graph, value = Graph(), Tensor("x", (2, 3, 4), (0, 2, 1))
    assert graph.laid(value, (0, 2, 1)) == "x"
    assert not graph.nodes
    graph.laid(value)
    (node,) = graph.nodes
    assert node.op_type == "Transpose"
    assert list(node.attribute[0].ints) == [0, 2, 1]


def test_a_constant_is_laid_by_moving_its_own_axes():
    graph, array = Graph(), np.arange(6.0).reshape(2, 3)
    name = graph.laid(array, (1, 0))
    np.testing.assert_array_equal(graph.constants[name], array.T)
    assert graph.whole(array, (2, 3)) is array


def test_what_has_no_translation_is_named():
    with pytest.raises(UserError, match=r"^onnx: has no translation of sort, which .*--formats$"):
        raise untranslated("sort")
