"""The ONNX operators of each primitive of JAX: the tables ELEMENTWISE and TRANSLATIONS."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.extend import core
from onnx import helper

from darkrank_jax.export.onnx_graph import Graph, Tensor, Value, untranslated


def elementwise(graph: Graph, eqn: core.JaxprEqn, operands: list[Value]) -> Value:
    """Operators that ONNX repeats their operands for, as NumPy does."""
    operator, compute = ELEMENTWISE[eqn.primitive.name]
    tensors = [x for x in operands if isinstance(x, Tensor)]
    if not tensors:
        return np.asarray(compute(*operands), dtype_of(eqn.outvars[0]))
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
    whole = graph.whole(x, shape_of(eqn.invars[0]))
    return whole.reshape(sizes) if isinstance(whole, np.ndarray) else _reshaped(graph, whole, sizes)


def _reshaped(graph: Graph, x: Tensor, sizes: Sequence[Any]) -> Tensor:
    """A reshape; the size that depends on the batch follows from the others."""
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
        raise untranslated("such a conv_general_dilated")
    weights = graph.constant(kernel.transpose(numbers.rhs_spec))
    bias = graph.constant(np.zeros(graph.constants[weights].shape[0], kernel.dtype))
    whole = graph.whole(x, shape_of(eqn.invars[0]))
    result = graph.add(
        "Conv",
        [graph.laid(whole, numbers.lhs_spec), weights, bias],
        shape=shape_of(eqn.outvars[0]),
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
        raise untranslated(f"such a {eqn.primitive.name}")
    if isinstance(x, np.ndarray):
        return _computed(graph, eqn, x)
    largest = eqn.primitive.name == "reduce_window_max"
    layout = (0, 3, 1, 2)
    counted: dict[str, Any] = {} if largest else {"count_include_pad": 1}
    result = graph.add(
        "MaxPool" if largest else "AveragePool",
        [graph.laid(graph.whole(x, shape_of(eqn.invars[0])), layout)],
        shape=shape_of(eqn.outvars[0]),
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
    whole = graph.whole(x, shape_of(eqn.invars[0]))
    if isinstance(whole, np.ndarray):
        return _computed(graph, eqn, whole)
    gone = [int(axis) for axis in eqn.params["axes"]]
    places = [whole.layout.index(axis) for axis in gone]
    kept = [axis for axis in whole.layout if axis not in gone]
    layout = tuple(sorted(kept).index(axis) for axis in kept)
    shape = shape_of(eqn.outvars[0])
    if eqn.primitive.name == "reduce_sum":
        names = [whole.name, graph.constant(np.array(places, np.int64))]
        return graph.add("ReduceSum", names, shape=shape, layout=layout, keepdims=0)
    return graph.add("ReduceMax", [whole.name], shape=shape, layout=layout, axes=places, keepdims=0)


def _concatenate(graph: Graph, eqn: core.JaxprEqn, *parts: Value) -> Value:
    if all(isinstance(x, np.ndarray) for x in parts):
        return np.concatenate(parts, axis=eqn.params["dimension"])
    wholes = [graph.whole(x, shape_of(atom)) for x, atom in zip(parts, eqn.invars, strict=True)]
    layout = next(x.layout for x in wholes if isinstance(x, Tensor))
    return graph.add(
        "Concat",
        [graph.laid(x, layout) for x in wholes],
        shape=shape_of(eqn.outvars[0]),
        layout=layout,
        axis=layout.index(eqn.params["dimension"]),
    )


def _dot(graph: Graph, eqn: core.JaxprEqn, a: Value, b: Value) -> Value:
    """A matrix product, or any other contraction as a sum over named axes."""
    (left, right), (left_batch, right_batch) = eqn.params["dimension_numbers"]
    shapes = [shape_of(atom) for atom in eqn.invars]
    names = [graph.laid(graph.whole(x, shape)) for x, shape in zip((a, b), shapes, strict=True)]
    shape = shape_of(eqn.outvars[0])
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
    """One slice at a known place, which is what indexing with numbers becomes."""
    numbers, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    if not isinstance(indices, np.ndarray) or indices.ndim != 1 or numbers.operand_batching_dims:
        raise untranslated("a gather at places that are not known beforehand")
    axes = list(numbers.start_index_map)
    whole = graph.whole(x, shape_of(eqn.invars[0]))
    ends = [start + sizes[axis] for start, axis in zip(indices.tolist(), axes, strict=True)]
    bounds = [graph.constant(np.array(each, np.int64)) for each in (indices, ends, axes)]
    cut = graph.add("Slice", [graph.laid(whole), *bounds], shape=tuple(sizes))
    return _reshaped(graph, cut, shape_of(eqn.outvars[0]))


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
    names = [x.name, graph.constant(np.array(exponent, dtype_of(eqn.invars[0])))]
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
    """The value of a primitive of constants alone, by JAX."""
    wholes = [
        np.broadcast_to(x, shape_of(atom)) for x, atom in zip(operands, eqn.invars, strict=True)
    ]
    del graph
    return np.asarray(eqn.primitive.bind(*wholes, **eqn.params))


def shape_of(atom: Any) -> tuple:
    """The shape that JAX gives a variable or a constant of a function."""
    return atom.aval.shape


def dtype_of(atom: Any) -> np.dtype:
    """The type that JAX gives a variable or a constant of a function."""
    return atom.aval.dtype


def _pads(padding: Sequence[tuple[int, int]]) -> list[int]:
    """All that come before, then all that come after."""
    return [before for before, _ in padding] + [after for _, after in padding]


def _joined(shapes: Sequence[tuple]) -> tuple:
    """The shape of operands that repeat each other."""
    return tuple(next((x for x in sizes if x != 1), 1) for sizes in zip(*shapes, strict=True))


# JAX's primitive -> ONNX's operator, and NumPy's function for constants.
ELEMENTWISE: dict[str, tuple[str, Callable[..., Any]]] = {
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
TRANSLATIONS: dict[str, Callable[..., Value]] = {
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
