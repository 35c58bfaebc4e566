"""ONNX in float32 and in int8, run by ONNX Runtime; both are optional dependencies."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from darkrank_jax.data.files.archives import read_file
from darkrank_jax.errors import UserError
from darkrank_jax.export.facts import CHECKSUM, checksum, parse_facts, write_facts
from darkrank_jax.export.graph_checks import onnx_fault, onnx_graph
from darkrank_jax.export.source import EmbedBatch, ExportSource
from darkrank_jax.extras import MissingExtra, install
from darkrank_jax.runs.splits import Splits

# Images by which the ranges of activations are measured.
_CALIBRATION = 512
# Images at once meanwhile.
_BATCH = 32
# ONNX Runtime's level of what it prints beside what it raises.
_FATAL = 4


def write_onnx(source: ExportSource, path: Path) -> None:
    """Writes a network of opset 17 that takes uint8 images, in batches of any size.

    Args:
      source: the network.
      path: of the file; the facts are in its metadata.

    Raises:
      UserError: the model has a part that is not translated.
    """
    path.write_bytes(_with_checksum(_converted(source), source))


def write_onnx_int8(source: ExportSource, path: Path) -> None:
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

    images = Splits()[source.network.run.data]["train"].images
    rng = np.random.default_rng(source.network.run.seed)
    chosen = np.sort(rng.permutation(len(images))[:_CALIBRATION])
    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, small = (Path(folder) / f"{name}.onnx" for name in ("a", "b", "c"))
        plain.write_bytes(_converted(source))
        quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(small),
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
        path.write_bytes(_with_checksum(small.read_bytes(), source))


def load_onnx(path: Path) -> tuple[dict[str, Any], EmbedBatch]:
    """Reads what either of the two wrote.

    Args:
      path: of the file.

    Returns:
      The facts, and the function from uint8 images to embeddings, on the CPU.

    Raises:
      UserError: onnxruntime is missing; the file is damaged or not an export of this package, reads
        other files, or holds operators that ONNX itself does not have.
    """
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtra(f"{path}: needs onnxruntime; run `{install(['onnxruntime'])}`") from None
    options = onnxruntime.SessionOptions()
    # Not what ONNX Runtime takes for its own format, in which nothing was looked at.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.log_severity_level = _FATAL
    model = read_file(path)
    try:
        fault = onnx_fault(model)
        if fault:
            raise UserError(f"{path}: {fault}, which no export does; export the network again")
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        texts = session.get_modelmeta().custom_metadata_map
    except UserError:
        raise
    # ONNX Runtime's own errors have no common class of their own; texts may not be UTF-8.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: is not an ONNX file that runs here ({reason}); export it again"
        ) from error
    facts = parse_facts(path, texts)
    if texts.get(CHECKSUM, found := checksum(onnx_graph(model), facts)) != found:
        raise UserError(f"{path}: is damaged (checksums differ); export it again")
    _check_ends(path, session, facts)

    def embed(images: np.ndarray) -> np.ndarray:
        found: Any = session.run(["embeddings"], {"images": images})
        return found[0]

    return facts, embed


def _converted(source: ExportSource) -> bytes:
    """A network as ONNX, with its facts."""
    from darkrank_jax.export.jaxpr_to_onnx import convert

    shape = tuple(source.facts["image_shape"])
    return convert(source.embed, shape, write_facts(source.facts)).SerializeToString()


def _with_checksum(model: bytes, source: ExportSource) -> bytes:
    """A model with a hash of its graph and facts in its metadata."""
    import onnx

    value = checksum(onnx_graph(model), source.facts)
    entry = onnx.StringStringEntryProto(key=CHECKSUM, value=value)
    # Messages one after the other are read as one.
    return model + onnx.ModelProto(metadata_props=[entry]).SerializeToString()


def _check_ends(path: Path, session: Any, facts: dict[str, Any]) -> None:
    """Refuses a model that takes or gives something else than its facts say."""
    ends = {
        "input": (session.get_inputs(), ("images", "tensor(uint8)"), facts["image_shape"]),
        "output": (
            session.get_outputs(),
            ("embeddings", "tensor(float)"),
            [facts["embedding_dim"]],
        ),
    }
    for kind, (found, expected, shape) in ends.items():
        said = ", ".join(f"{end.name} {end.type} {end.shape}" for end in found) or "none"
        if [(end.name, end.type) for end in found] != [expected] or found[0].shape[1:] != shape:
            must = f"{' '.join(expected)} {['batch', *shape]}"
            raise UserError(f"{path}: {kind} must be {must} (got {said}); export it again")


def _reader(images: np.ndarray) -> Any:
    """Batches in the way that the quantiser asks for them."""
    from onnxruntime.quantization import CalibrationDataReader

    batches: Iterator[np.ndarray] = iter(np.array_split(images, max(1, len(images) // _BATCH)))

    class Reader(CalibrationDataReader):
        def get_next(self) -> Any:
            batch = next(batches, None)
            return None if batch is None else {"images": batch}

    return Reader()
