"""A JAX function as an ONNX graph: one operator, or a few, for each primitive of JAX.

Written for networks that embed images, whose constants are their parameters. Values of constants
alone are computed here; norms after a convolution become part of it.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import onnx
from jax.extend import core

from darkrank_jax.export.onnx_graph import (
    INPUT,
    OUTPUT,
    Graph,
    Tensor,
    Value,
    onnx_model,
    untranslated,
)
from darkrank_jax.export.onnx_primitives import ELEMENTWISE, TRANSLATIONS, dtype_of, elementwise
from darkrank_jax.models.convolution import plain_convolutions


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
    return onnx_model(graph, image_shape, result.shape[1], metadata)


def _run(
    graph: Graph, jaxpr: core.Jaxpr, constants: Sequence[Value], inputs: Sequence[Value]
) -> list[Value]:
    """Translates the equations of a function, one after the other."""
    values: dict[core.Var, Value] = dict(
        zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *inputs], strict=True)
    )
    uses = Counter(x for eqn in jaxpr.eqns for x in eqn.invars if isinstance(x, core.Var))
    uses.update(x for x in jaxpr.outvars if isinstance(x, core.Var))
    # The caller may use its constants and inputs as well.
    uses.update(list(values))

    def value(atom: Any) -> Value:
        return values[atom] if isinstance(atom, core.Var) else np.asarray(atom.val, dtype_of(atom))

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
    if primitive in ELEMENTWISE:
        folded = _fold(graph, primitive, operands, alone)
        return elementwise(graph, eqn, operands) if folded is None else folded
    if primitive in TRANSLATIONS:
        return TRANSLATIONS[primitive](graph, eqn, *operands)
    raise untranslated(primitive)


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
