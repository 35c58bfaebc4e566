"""A JAX function as an ONNX graph: one operator, or a few, for each primitive of JAX.

Written for networks that embed images, whose constants are their parameters. What hangs on
constants alone is computed here; norms after a convolution become part of it. Axes are not moved
where they can be renamed: a value of the graph knows which axis of JAX's each of its own is, since
ONNX convolves [batch, channels, height, width].
"""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import onnx
from jax.extend import core
from onnx import helper, numpy_helper

from darkrank_jax.errors import UserError
from darkrank_jax.models.convolution import plain_convolutions

# The oldest that has all operators below, for the runtimes of phones and browsers.
OPSET, _IR_VERSION = 17, 8
INPUT, OUTPUT = "images", "embeddings"


class Tensor(NamedTuple):
    """A value that hangs on the images.

    Attributes:
      name: in the graph.
      shape: by JAX's axes; 1 where JAX has repeated it and ONNX would do so by itself. What is no
        number hangs on the size of the batch.
      layout: which of JAX's axes each axis in the graph is.
    """

    name: str
    shape: tuple
    layout: tuple[int, ...]


# Constants, too, may have 1 where JAX has repeated them.
Value = Tensor | np.ndarray


def convert(
    function: Callable[[jax.Array], jax.Array],
    image_shape: tuple[int, int, int],
    metadata: Mapping[str, str],
) -> onnx.ModelProto:
    """Translates a function of uint8 images, batch size free.

    Args:
      function: uint8 images [batch, h, w, c] to float32 embeddings [batch, dim].
      image_shape: height, width and channels.
      metadata: goes along in the file.

    Returns:
      A checked model with the input "images" and the output "embeddings".

    Raises:
      UserError: the function uses a primitive, or a way to use one, that has no translation.

    Example:
      >>> model = convert(lambda x: x.reshape(x.shape[0], 4) / 2, (2, 2, 1), {})
      >>> [node.op_type for node in model.graph.node]
      ['Reshape', 'Cast', 'Div', 'Identity']
    """
    (batch,) = jax.export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *image_shape), np.uint8)
    with plain_convolutions():
        closed = jax.make_jaxpr(function)(images)
    graph = Graph()
    start = Tensor(INPUT, images.shape, tuple(range(4)))
    (out,) = _run(graph, closed.jaxpr, [np.asarray(x) for x in closed.consts], [start])
    (result,) = closed.out_avals
    last = graph.whole(out, result.shape)
    graph.add("Identity", [graph.laid(last)], shape=last.shape, name=OUTPUT)
    return _model(graph, image_shape, result.shape[1], metadata)


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


def _run(
    graph: Graph, jaxpr: core.Jaxpr, constants: Sequence[Value], inputs: Sequence[Value]
) -> list[Value]:
    """Translates the equations of a function, one after the other."""
    values: dict[core.Var, Value] = dict(
        zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *inputs], strict=True)
    )
    uses = Counter(x for eqn in jaxpr.eqns for x in eqn.invars if isinstance(x, core.Var))
    uses.update(x for x in jaxpr.outvars if isinstance(x, core.Var))
    # What comes from outside may be used there as well.
    uses.update(list(values))

    def value(atom: Any) -> Value:
        return values[atom] if isinstance(atom, core.Var) else np.asarray(atom.val, _dtype(atom))

    for eqn in jaxpr.eqns:
        operands = [value(atom) for atom in eqn.invars]
        inner = eqn.params.get("jaxpr") or eqn.params.get("call_jaxpr")
        if inner is not None:
            closed = inner if isinstance(inner, core.ClosedJaxpr) else core.ClosedJaxpr(inner, ())
            consts = [np.asarray(x) for x in closed.consts]
            results = _run(graph, closed.jaxpr, consts, operands)
        else:
            alone = [isinstance(x, core.Var) and uses[x] == 1 for x in eqn.invars]
            results = [_translate(graph, eqn, operands, alone)]
        values.update(zip(eqn.outvars, results, strict=True))
    return [value(atom) for atom in jaxpr.outvars]


def _translate(graph: Graph, eqn: core.JaxprEqn, operands: list[Value], alone: list[bool]) -> Value:
    """One equation; `alone` says of each operand whether nothing else uses it."""
    primitive = eqn.primitive.name
    if primitive in _ELEMENTWISE:
        folded = _fold(graph, primitive, operands, alone)
        return _elementwise(graph, eqn, operands) if folded is None else folded
    if primitive in _TRANSLATIONS:
        return _TRANSLATIONS[primitive](graph, eqn, *operands)
    raise _untranslated(primitive)


def _elementwise(graph: Graph, eqn: core.JaxprEqn, operands: list[Value]) -> Value:
    """Operators that ONNX repeats their operands for, as NumPy does."""
    operator, compute = _ELEMENTWISE[eqn.primitive.name]
    tensors = [x for x in operands if isinstance(x, Tensor)]
    if not tensors:
        return np.asarray(compute(*operands), _dtype(eqn.outvars[0]))
    shape = _joined([x.shape for x in operands if x.shape])
    moved = [x.layout for x in tensors if x.layout != tuple(range(len(x.shape)))]
    layout = moved[0] if moved else tensors[0].layout
    bounds = [x for x in operands if isinstance(x, np.ndarray) and not x.shape]
    names = [graph.laid(x, layout) for x in operands]
    # Runtimes join these, other than minima and maxima, with the convolution before them.
    if operator == "Max" and len(bounds) == 1 and bounds[0] == 0:
        return graph.add("Relu", [graph.laid(tensors[0], layout)], shape=shape, layout=layout)
    if operator == "Min" and len(bounds) == 1:
        names = [graph.laid(tensors[0], layout), "", graph.constant(bounds[0])]
        return graph.add("Clip", names, shape=shape, layout=layout)
    if operator == "Where":
        names = [names[0], names[2], names[1]]
    return graph.add(operator, names, shape=shape, layout=layout)


def _fold(graph: Graph, primitive: str, operands: list[Value], alone: list[bool]) -> Value | None:
    """Makes a sum or product with constants a part of the convolution before it, if it can."""
    kinds = [isinstance(x, Tensor) and x.name in graph.convolutions for x in operands]
    if primitive not in ("add", "sub", "mul") or kinds.count(True) != 1:
        return None
    place = kinds.index(True)
    result, other = operands[place], operands[1 - place]
    if not (alone[place] and isinstance(result, Tensor) and isinstance(other, np.ndarray)):
        return None
    if other.size not in (1, other.shape[-1]) or (primitive == "sub" and place == 1):
        return None
    kernel, bias = graph.convolutions[result.name]
    change = other.reshape(-1)
    if primitive == "mul":
        graph.constants[kernel] = graph.constants[kernel] * change.reshape(-1, 1, 1, 1)
        graph.constants[bias] = graph.constants[bias] * change
    else:
        graph.constants[bias] = graph.constants[bias] + (-change if primitive == "sub" else change)
    return result


def _broadcast(graph: Graph, eqn: core.JaxprEqn, x: Value) -> Value:
    """Only adds axes; ONNX repeats what is to be repeated, or `Graph.whole` does."""
    rank = len(eqn.params["shape"])
    axes = [int(axis) for axis in eqn.params["broadcast_dimensions"]]
    shape = [1] * rank
    for axis, size in zip(axes, x.shape, strict=True):
        shape[axis] = size
    if isinstance(x, np.ndarray):
        return x.reshape(shape)
    if axes == list(range(rank)):
        return x
    return _reshaped(graph, x, shape)


def _reshape(graph: Graph, eqn: core.JaxprEqn, x: Value) -> Value:
    sizes = tuple(eqn.params["new_sizes"])
    whole = graph.whole(x, _shape(eqn.invars[0]))
    return whole.reshape(sizes) if isinstance(whole, np.ndarray) else _reshaped(graph, whole, sizes)


def _reshaped(graph: Graph, x: Tensor, sizes: Sequence[Any]) -> Tensor:
    """With one size that follows from the others, where it hangs on the batch."""
    numbers = [size if isinstance(size, int) else -1 for size in sizes]
    names = [graph.laid(x), graph.constant(np.array(numbers, np.int64))]
    return graph.add("Reshape", names, shape=tuple(sizes))


def _transpose(graph: Graph, eqn: core.JaxprEqn, x: Value) -> Value:
    """Renames the axes."""
    del graph
    order = [int(axis) for axis in eqn.params["permutation"]]
    if isinstance(x, np.ndarray):
        return x.transpose(order)
    layout = tuple(order.index(axis) for axis in x.layout)
    return Tensor(x.name, tuple(x.shape[axis] for axis in order), layout)


def _convolution(graph: Graph, eqn: core.JaxprEqn, x: Value, kernel: Value) -> Value:
    params, numbers = eqn.params, eqn.params["dimension_numbers"]
    plain = params["batch_group_count"] == 1 and set(params["lhs_dilation"]) == {1}
    if not plain or not isinstance(kernel, np.ndarray) or kernel.ndim != 4:
        raise _untranslated("such a conv_general_dilated")
    weights = graph.constant(kernel.transpose(numbers.rhs_spec))
    bias = graph.constant(np.zeros(graph.constants[weights].shape[0], kernel.dtype))
    whole = graph.whole(x, _shape(eqn.invars[0]))
    result = graph.add(
        "Conv",
        [graph.laid(whole, numbers.lhs_spec), weights, bias],
        shape=_shape(eqn.outvars[0]),
        layout=numbers.out_spec,
        strides=params["window_strides"],
        dilations=params["rhs_dilation"],
        pads=_pads(params["padding"]),
        group=params["feature_group_count"],
    )
    graph.convolutions[result.name] = (weights, bias)
    return result


def _pool(graph: Graph, eqn: core.JaxprEqn, x: Value) -> Value:
    """A maximum or a sum over windows; ONNX has the mean in place of the sum."""
    params = eqn.params
    window, inner = params["window_dimensions"], slice(1, 3)
    dilations = {*params["base_dilation"], *params["window_dilation"]}
    if len(window) != 4 or (window[0], window[3]) != (1, 1) or dilations != {1}:
        raise _untranslated(f"such a {eqn.primitive.name}")
    if isinstance(x, np.ndarray):
        return _computed(graph, eqn, x)
    largest = eqn.primitive.name == "reduce_window_max"
    layout = (0, 3, 1, 2)
    counted: dict[str, Any] = {} if largest else {"count_include_pad": 1}
    result = graph.add(
        "MaxPool" if largest else "AveragePool",
        [graph.laid(graph.whole(x, _shape(eqn.invars[0])), layout)],
        shape=_shape(eqn.outvars[0]),
        layout=layout,
        kernel_shape=window[inner],
        strides=params["window_strides"][inner],
        pads=_pads(params["padding"][inner]),
        **counted,
    )
    if largest:
        return result
    places = graph.constant(np.array(np.prod(window), np.float32))
    return graph.add("Mul", [result.name, places], shape=result.shape, layout=layout)


def _reduce(graph: Graph, eqn: core.JaxprEqn, x: Value) -> Value:
    whole = graph.whole(x, _shape(eqn.invars[0]))
    if isinstance(whole, np.ndarray):
        return _computed(graph, eqn, whole)
    gone = [int(axis) for axis in eqn.params["axes"]]
    places = [whole.layout.index(axis) for axis in gone]
    kept = [axis for axis in whole.layout if axis not in gone]
    layout = tuple(sorted(kept).index(axis) for axis in kept)
    shape = _shape(eqn.outvars[0])
    if eqn.primitive.name == "reduce_sum":
        names = [whole.name, graph.constant(np.array(places, np.int64))]
        return graph.add("ReduceSum", names, shape=shape, layout=layout, keepdims=0)
    return graph.add("ReduceMax", [whole.name], shape=shape, layout=layout, axes=places, keepdims=0)


def _concatenate(graph: Graph, eqn: core.JaxprEqn, *parts: Value) -> Value:
    if all(isinstance(x, np.ndarray) for x in parts):
        return np.concatenate(parts, axis=eqn.params["dimension"])
    wholes = [graph.whole(x, _shape(atom)) for x, atom in zip(parts, eqn.invars, strict=True)]
    layout = next(x.layout for x in wholes if isinstance(x, Tensor))
    return graph.add(
        "Concat",
        [graph.laid(x, layout) for x in wholes],
        shape=_shape(eqn.outvars[0]),
        layout=layout,
        axis=layout.index(eqn.params["dimension"]),
    )


def _dot(graph: Graph, eqn: core.JaxprEqn, a: Value, b: Value) -> Value:
    """A matrix product, or any other contraction as a sum over named axes."""
    (left, right), (left_batch, right_batch) = eqn.params["dimension_numbers"]
    shapes = [_shape(atom) for atom in eqn.invars]
    names = [graph.laid(graph.whole(x, shape)) for x, shape in zip((a, b), shapes, strict=True)]
    shape = _shape(eqn.outvars[0])
    ranks = [len(each) for each in shapes]
    if not left_batch and (tuple(left), tuple(right)) == ((ranks[0] - 1,), (0,)) and ranks[1] == 2:
        return graph.add("MatMul", names, shape=shape)
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    first = [next(letters) for _ in range(ranks[0])]
    shared = dict(zip([*right_batch, *right], [*left_batch, *left], strict=True))
    second = [first[shared[i]] if i in shared else next(letters) for i in range(ranks[1])]
    result = [first[axis] for axis in left_batch]
    result += [first[axis] for axis in range(ranks[0]) if axis not in {*left_batch, *left}]
    result += [second[axis] for axis in range(ranks[1]) if axis not in shared]
    equation = f"{''.join(first)},{''.join(second)}->{''.join(result)}"
    return graph.add("Einsum", names, shape=shape, equation=equation)


def _gather(graph: Graph, eqn: core.JaxprEqn, x: Value, indices: Value) -> Value:
    """One slice whose place is known, which is what indexing with numbers becomes."""
    numbers, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    if not isinstance(indices, np.ndarray) or indices.ndim != 1 or numbers.operand_batching_dims:
        raise _untranslated("a gather at places that are not known beforehand")
    axes = list(numbers.start_index_map)
    whole = graph.whole(x, _shape(eqn.invars[0]))
    ends = [start + sizes[axis] for start, axis in zip(indices.tolist(), axes, strict=True)]
    bounds = [graph.constant(np.array(each, np.int64)) for each in (indices, ends, axes)]
    cut = graph.add("Slice", [graph.laid(whole), *bounds], shape=tuple(sizes))
    return _reshaped(graph, cut, _shape(eqn.outvars[0]))


def _convert_type(graph: Graph, eqn: core.JaxprEqn, x: Value) -> Value:
    dtype = np.dtype(eqn.params["new_dtype"])
    if isinstance(x, np.ndarray):
        return x.astype(dtype)
    kind = helper.np_dtype_to_tensor_dtype(dtype)
    return graph.add("Cast", [x.name], shape=x.shape, layout=x.layout, to=kind)


def _power(graph: Graph, eqn: core.JaxprEqn, x: Value) -> Value:
    """A whole power, by default the second."""
    exponent = eqn.params.get("y", 2)
    if isinstance(x, np.ndarray):
        return x**exponent
    if exponent == 2:
        return graph.add("Mul", [x.name, x.name], shape=x.shape, layout=x.layout)
    names = [x.name, graph.constant(np.array(exponent, _dtype(eqn.invars[0])))]
    return graph.add("Pow", names, shape=x.shape, layout=x.layout)


def _rsqrt(graph: Graph, eqn: core.JaxprEqn, x: Value) -> Value:
    del eqn
    if isinstance(x, np.ndarray):
        return 1 / np.sqrt(x)
    root = graph.add("Sqrt", [x.name], shape=x.shape, layout=x.layout)
    return graph.add("Reciprocal", [root.name], shape=x.shape, layout=x.layout)


def _erfc(graph: Graph, eqn: core.JaxprEqn, x: Value) -> Value:
    if isinstance(x, np.ndarray):
        return _computed(graph, eqn, x)
    error = graph.add("Erf", [x.name], shape=x.shape, layout=x.layout)
    one = graph.constant(np.ones((), np.float32))
    return graph.add("Sub", [one, error.name], shape=x.shape, layout=x.layout)


def _same(graph: Graph, eqn: core.JaxprEqn, x: Value) -> Value:
    del graph, eqn
    return x


def _computed(graph: Graph, eqn: core.JaxprEqn, *operands: np.ndarray) -> np.ndarray:
    """What hangs on constants alone, by JAX."""
    wholes = [
        np.broadcast_to(x, _shape(atom)) for x, atom in zip(operands, eqn.invars, strict=True)
    ]
    del graph
    return np.asarray(eqn.primitive.bind(*wholes, **eqn.params))


def _shape(atom: Any) -> tuple:
    """The shape that JAX gives a variable or a constant of a function."""
    return atom.aval.shape


def _dtype(atom: Any) -> np.dtype:
    """Its type, likewise."""
    return atom.aval.dtype


def _pads(padding: Sequence[tuple[int, int]]) -> list[int]:
    """All that come before, then all that come after."""
    return [before for before, _ in padding] + [after for _, after in padding]


def _joined(shapes: Sequence[tuple]) -> tuple:
    """The shape of operands that repeat each other."""
    return tuple(next((x for x in sizes if x != 1), 1) for sizes in zip(*shapes, strict=True))


def _untranslated(what: str) -> UserError:
    return UserError(
        f"onnx: has no translation of {what}, which this model uses; leave onnx out of --formats"
    )


def _model(
    graph: Graph, image_shape: tuple[int, int, int], dim: int, metadata: Mapping[str, str]
) -> onnx.ModelProto:
    """What the output hangs on, as a model."""
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


# JAX's primitive -> ONNX's operator, and NumPy's function for constants.
_ELEMENTWISE: dict[str, tuple[str, Callable[..., Any]]] = {
    "abs": ("Abs", np.abs),
    "add": ("Add", np.add),
    "div": ("Div", np.divide),
    "eq": ("Equal", np.equal),
    "exp": ("Exp", np.exp),
    "ge": ("GreaterOrEqual", np.greater_equal),
    "gt": ("Greater", np.greater),
    "le": ("LessOrEqual", np.less_equal),
    "log": ("Log", np.log),
    "logistic": ("Sigmoid", lambda x: 1 / (1 + np.exp(-x))),
    "lt": ("Less", np.less),
    "max": ("Max", np.maximum),
    "min": ("Min", np.minimum),
    "mul": ("Mul", np.multiply),
    "neg": ("Neg", np.negative),
    "pow": ("Pow", np.power),
    # JAX's first choice is for what is false, ONNX's for what is true.
    "select_n": ("Where", lambda which, no, yes: np.where(which, yes, no)),
    "sqrt": ("Sqrt", np.sqrt),
    "sub": ("Sub", np.subtract),
    "tanh": ("Tanh", np.tanh),
}
_TRANSLATIONS: dict[str, Callable[..., Value]] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "conv_general_dilated": _convolution,
    "convert_element_type": _convert_type,
    "copy": _same,
    "dot_general": _dot,
    "erfc": _erfc,
    "gather": _gather,
    "integer_pow": _power,
    "reduce_max": _reduce,
    "reduce_sum": _reduce,
    "reduce_window_max": _pool,
    "reduce_window_sum": _pool,
    "reshape": _reshape,
    "rsqrt": _rsqrt,
    "square": _power,
    "stop_gradient": _same,
    "transpose": _transpose,
}
