"""An ONNX graph in the making: nodes, constants, and values that know their axes.

Axes are not moved where they can be renamed: a value knows which of JAX's axes each of its own is,
since ONNX convolves [batch, channels, height, width].
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

from darkrank_jax.errors import UserError

# The oldest that has all operators below, for the runtimes of phones and browsers.
OPSET, _IR_VERSION = 17, 8
INPUT, OUTPUT = "images", "embeddings"


class Tensor(NamedTuple):
    """A value that depends on the images.

    Attributes:
      name: in the graph.
      shape: by JAX's axes; 1 where JAX has repeated it and ONNX would do so by itself. A size that
        is not an int depends on the size of the batch.
      layout: which of JAX's axes each axis in the graph is.
    """

    name: str
    shape: tuple
    layout: tuple[int, ...]


# Constants, too, may have 1 where JAX has repeated them.
Value = Tensor | np.ndarray


class Graph:
    """Nodes and constants of a graph in the making.

    Attributes:
      nodes: in the order of computation.
      constants: by name.
      convolutions: kernel and bias by the name of the result, as long as they may change.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.convolutions: dict[str, tuple[str, str]] = {}
        self._numbers = itertools.count()
        self._batch: str | None = None

    def add(
        self,
        operator: str,
        inputs: Sequence[str],
        *,
        shape: tuple,
        layout: tuple[int, ...] | None = None,
        name: str = "",
        **attributes: Any,
    ) -> Tensor:
        """Adds a node with one result."""
        name = name or f"{operator.lower()}_{next(self._numbers)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return Tensor(name, shape, tuple(range(len(shape))) if layout is None else layout)

    def constant(self, array: np.ndarray) -> str:
        """Adds a constant; returns its name."""
        name = f"constant_{next(self._numbers)}"
        # Not `ascontiguousarray`, which makes a number an array of one.
        self.constants[name] = np.array(array, order="C")
        return name

    def laid(self, value: Value, layout: tuple[int, ...] | None = None) -> str:
        """The name of a value in a layout, JAX's own by default; moves axes where it must."""
        rank = len(value.shape)
        layout = tuple(range(rank)) if layout is None or not rank else layout
        if isinstance(value, np.ndarray):
            return self.constant(value.transpose(layout))
        if value.layout == layout:
            return value.name
        moves = [value.layout.index(axis) for axis in layout]
        return self.add("Transpose", [value.name], shape=value.shape, perm=moves).name

    def whole(self, value: Value, shape: tuple) -> Value:
        """The value, repeated to a shape."""
        if value.shape == tuple(shape):
            return value
        layout = value.layout if isinstance(value, Tensor) else tuple(range(len(shape)))
        sizes = [shape[axis] for axis in layout]
        return self.add(
            "Expand", [self.laid(value, layout), self._sizes(sizes)], shape=shape, layout=layout
        )

    def _sizes(self, sizes: Sequence[Any]) -> str:
        """A shape as a value, where the size of the batch may stand in it."""
        if all(isinstance(size, int) for size in sizes):
            return self.constant(np.array(sizes, np.int64))
        if self._batch is None:
            self._batch = self.add("Shape", [INPUT], shape=(1,), start=0, end=1).name
        parts = [
            self.constant(np.array([size], np.int64)) if isinstance(size, int) else self._batch
            for size in sizes
        ]
        return self.add("Concat", parts, shape=(len(parts),), axis=0).name


def onnx_model(
    graph: Graph, image_shape: tuple[int, int, int], dim: int, metadata: Mapping[str, str]
) -> onnx.ModelProto:
    """A checked model of the nodes and constants on which the output depends."""
    needed, nodes = {OUTPUT}, []
    for node in reversed(graph.nodes):
        if node.output[0] in needed:
            needed.update(node.input)
            nodes.insert(0, node)
    constants = [
        numpy_helper.from_array(array, name)
        for name, array in graph.constants.items()
        if name in needed
    ]
    images = helper.make_tensor_value_info(INPUT, onnx.TensorProto.UINT8, ["batch", *image_shape])
    found = helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, ["batch", dim])
    model = helper.make_model(
        helper.make_graph(nodes, "embed", [images], [found], constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=_IR_VERSION,
        producer_name="darkrank_jax",
    )
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    return model


def untranslated(what: str) -> UserError:
    """The error of a primitive, or of a use of one, without a translation."""
    return UserError(
        f"onnx: has no translation of {what}, which this model uses; leave onnx out of --formats"
    )
