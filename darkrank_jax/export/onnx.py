"""ONNX in float32 and in int8, run by ONNX Runtime; both are optional dependencies."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from darkrank_jax.errors import UserError
from darkrank_jax.export.facts import parse_facts, write_facts
from darkrank_jax.export.source import EmbedBatch, Source
from darkrank_jax.training.preflight import load_data

# Images by which the ranges of activations are measured.
_CALIBRATION = 512
# Images at once meanwhile.
_BATCH = 32


def write_onnx(source: Source, path: Path) -> None:
    """Writes a network of opset 17 that takes uint8 images, in batches of any size.

    Args:
      source: the network.
      path: of the file; the facts are in its metadata.

    Raises:
      UserError: the model has a part that is not translated.
    """
    from darkrank_jax.export.jaxpr_to_onnx import convert

    shape = tuple(source.facts["image_shape"])
    path.write_bytes(convert(source.embed, shape, write_facts(source.facts)).SerializeToString())


def write_onnx_int8(source: Source, path: Path) -> None:
    """The same in int8: weights and activations, by ONNX Runtime's static quantisation.

    Kernels have a scale for each output, and seven of their eight bits, so that nothing overflows
    on processors without VNNI; the ranges of activations are those of some images that the network
    was trained on.

    Args:
      source: the network.
      path: of the file.

    Raises:
      UserError: as `write_onnx`, or from the data.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    images = load_data(source.network.run.data)["train"].images
    rng = np.random.default_rng(source.network.run.seed)
    chosen = np.sort(rng.permutation(len(images))[:_CALIBRATION])
    with tempfile.TemporaryDirectory() as folder:
        plain, prepared = Path(folder) / "plain.onnx", Path(folder) / "prepared.onnx"
        write_onnx(source, plain)
        quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(path),
            _reader(images[chosen]),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "MatMul", "Add", "Clip", "Relu", "MaxPool", "Concat"],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            # To seven bits: x86 without VNNI adds pairs of products of eight in 16, which overflow.
            reduce_range=True,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )


def load_onnx(path: Path) -> tuple[dict[str, Any], EmbedBatch]:
    """Reads what either of the two wrote.

    Args:
      path: of the file.

    Returns:
      The facts, and the function from uint8 images to embeddings, on the CPU.

    Raises:
      UserError: onnxruntime is missing, or the file is no export of this package.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UserError(f"{path}: needs onnxruntime; run `pip install onnxruntime`") from None
    try:
        session = onnxruntime.InferenceSession(
            path.read_bytes(), providers=["CPUExecutionProvider"]
        )
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    # ONNX Runtime's own errors have no common class of their own.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: is no ONNX file that runs here ({reason})") from error
    facts = parse_facts(path, session.get_modelmeta().custom_metadata_map)

    def embed(images: np.ndarray) -> np.ndarray:
        found: Any = session.run(["embeddings"], {"images": images})
        return found[0]

    return facts, embed


def _reader(images: np.ndarray) -> Any:
    """Batches in the way that the quantiser asks for them."""
    from onnxruntime.quantization import CalibrationDataReader

    batches: Iterator[np.ndarray] = iter(np.array_split(images, max(1, len(images) // _BATCH)))

    class Reader(CalibrationDataReader):
        def get_next(self) -> Any:
            batch = next(batches, None)
            return None if batch is None else {"images": batch}

    return Reader()
