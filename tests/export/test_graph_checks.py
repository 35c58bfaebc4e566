"""Graphs that call other code or read other files are refused before a runtime sees them."""

import jax
import numpy as np
import onnx
import pytest
from jax import export
from jax._src.interpreters.mlir import make_ir_context
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo
from onnx import TensorProto, helper

from darkrank_jax.export.graph_checks import onnx_fault, onnx_graph, stablehlo_fault

_CALL = """
func.func public @main(%a: tensor<3xf32>) -> tensor<3xf32> {{
  {body}
}}
"""


def artifact(body):
    """The portable artifact of a module with one function."""
    with make_ir_context():
        module = ir.Module.parse(_CALL.format(body=body))
        version = stablehlo.get_minimum_version()
        return stablehlo.serialize_portable_artifact_str(str(module), version)


def tensor(*, external):
    """An initializer, whose data lie in another file or in itself."""
    made = onnx.numpy_helper.from_array(np.arange(3, dtype=np.float32), "w")
    if external:
        made.ClearField("raw_data")
        made.data_location = TensorProto.EXTERNAL
        made.external_data.add(key="location", value="secret.bin")
    return made


def graph(*nodes, initializers=()):
    return helper.make_graph(list(nodes), "g", [], [], list(initializers))


def model(whole, **others):
    return helper.make_model(whole, **others)


def sparse(inner):
    return onnx.SparseTensorProto(values=inner, dims=[3])


def in_function(inner):
    node = helper.make_node("Constant", [], ["y"], value=inner)
    function = helper.make_function("own", "F", [], ["y"], [node], [helper.make_opsetid("", 17)])
    return model(graph(), functions=[function])


def in_training(inner):
    made = model(graph())
    made.training_info.add().algorithm.CopyFrom(graph(initializers=[inner]))
    return made


def in_sparse(inner):
    made = graph()
    made.sparse_initializer.append(sparse(inner))
    return model(made)


PLACES = {
    "initializer": lambda x: model(graph(initializers=[x])),
    "constant": lambda x: model(graph(helper.make_node("Constant", [], ["y"], value=x))),
    "branch": lambda x: model(
        graph(helper.make_node("If", ["c"], ["y"], then_branch=graph(initializers=[x])))
    ),
    "loop in a branch": lambda x: model(
        graph(
            helper.make_node(
                "If",
                ["c"],
                ["y"],
                then_branch=graph(
                    helper.make_node("Loop", ["n"], ["y"], body=graph(initializers=[x]))
                ),
            )
        )
    ),
    "sparse initializer": in_sparse,
    "function": in_function,
    "training": in_training,
}


@pytest.mark.parametrize("place", PLACES)
def test_onnx_data_in_other_files_are_found_wherever_they_are_named(place):
    for external, fault in ((True, "reads data of another file"), (False, "")):
        made = PLACES[place](tensor(external=external))
        assert onnx_fault(made.SerializeToString()) == fault


@pytest.mark.parametrize("domain", ["com.microsoft", "own"])
def test_onnx_operators_of_other_domains_are_refused(domain):
    inner = graph(helper.make_node("EPContext", [], ["y"], domain=domain))
    outer = model(graph(helper.make_node("If", ["c"], ["y"], else_branch=inner)))
    assert onnx_fault(outer.SerializeToString()) == f"has an operator of {domain!r}"


def test_onnx_graph_is_what_the_package_serializes():
    made = model(
        graph(helper.make_node("Relu", ["x"], ["y"]), initializers=[tensor(external=False)])
    )
    assert onnx_graph(made.SerializeToString()) == made.graph.SerializeToString()


@pytest.mark.parametrize(
    "data", [b"\x3a", b"\x3a\x7f", b"\x80" * 11, b"\x0b\x0c", b"\x00\x00", b"\xff" * 9 + b"\x01"]
)
def test_onnx_bytes_that_are_no_message_raise_value_error(data):
    with pytest.raises(ValueError, match=r"cut off|kind|no number"):
        onnx_fault(data)


def test_graphs_that_lie_too_deep_in_each_other_raise_value_error():
    inner = graph()
    for _ in range(20):
        inner = graph(helper.make_node("If", ["c"], ["y"], then_branch=inner))
    with pytest.raises(ValueError, match="too deep"):
        onnx_fault(model(inner).SerializeToString())


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("return %a : tensor<3xf32>", ""),
        (
            '%0 = stablehlo.custom_call @xla_ffi_python_cpu_callback(%a) {backend_config = "7"} : '
            "(tensor<3xf32>) -> tensor<3xf32>\n return %0 : tensor<3xf32>",
            "calls 'xla_ffi_python_cpu_callback'",
        ),
        (
            '%t = "stablehlo.create_token"() : () -> !stablehlo.token\n'
            '%0:2 = "stablehlo.infeed"(%t) {infeed_config = ""} : (!stablehlo.token) -> '
            "(tensor<3xf32>, !stablehlo.token)\n return %0#0 : tensor<3xf32>",
            "holds the operation 'stablehlo.create_token'",
        ),
    ],
)
def test_stablehlo_calls_and_transfers_are_refused_by_name(body, fault):
    assert stablehlo_fault(artifact(body)) == fault


def test_stablehlo_of_any_batch_is_allowed():
    shape = export.symbolic_shape("batch, 4")
    images = jax.ShapeDtypeStruct(shape, np.uint8)
    made = export.export(jax.jit(lambda x: x.sum(1)))(images)
    assert "shape_assertion" in made.mlir_module()
    assert stablehlo_fault(made.mlir_module_serialized) == ""
