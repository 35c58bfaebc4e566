"""ONNX files of a network."""

import numpy as np
import onnx
import onnxruntime

from darkrank_jax.export.formats import FORMATS


def test_int8_is_smaller(exported):
    sizes = {name: (exported / kind.file).stat().st_size for name, kind in FORMATS.items()}
    assert sizes["stablehlo_int8"] < 0.7 * sizes["stablehlo"]
    assert sizes["onnx_int8"] < 0.7 * sizes["onnx"]


def test_kernels_in_onnx_int8_have_seven_bits(exported):
    # More would saturate where the processor has no VNNI, and pass wherever this test runs on one.
    model = onnx.load(exported / "model_int8.onnx")
    sizes = [
        np.abs(onnx.numpy_helper.to_array(tensor).astype(int)).max()
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and tensor.dims and len(tensor.dims) > 1
    ]
    assert len(sizes) > 9
    assert {*sizes} == {64}


def test_onnx_has_opset_17_a_free_batch_and_bytes_in(exported):
    model = onnx.load(exported / "model.onnx")
    assert model.opset_import[0].version == 17
    (taken,) = model.graph.input
    shape = [dim.dim_param or dim.dim_value for dim in taken.type.tensor_type.shape.dim]
    assert (taken.name, shape) == ("images", ["batch", 16, 16, 1])
    assert taken.type.tensor_type.elem_type == onnx.TensorProto.UINT8


def test_onnxruntime_runs_the_file_without_this_package(exported, network, images):
    session = onnxruntime.InferenceSession(exported / "model.onnx")
    (found,) = session.run(None, {"images": images})
    np.testing.assert_allclose(found, network.embed(images), atol=2e-6)
