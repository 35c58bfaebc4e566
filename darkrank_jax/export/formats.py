"""The formats of exports by name, and how a file of any of them is opened."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from darkrank_jax.export.onnx import load_onnx, write_onnx, write_onnx_int8
from darkrank_jax.export.source import EmbedBatch, ExportSource
from darkrank_jax.export.stablehlo import load_stablehlo, write_stablehlo, write_stablehlo_int8
from darkrank_jax.export.weights import load_weights, write_weights


class Format(NamedTuple):
    """A kind of file.

    Attributes:
      file: its name.
      write: takes a source and a path.
      exact: whether its embeddings are the model's but for the order of sums.
      modules: that it needs beside this package's own; their packages have the same names.
    """

    file: str
    write: Callable[[ExportSource, Path], None]
    exact: bool
    modules: tuple[str, ...] = ()


_ONNX = ("onnx", "onnxruntime")
FORMATS: dict[str, Format] = {
    "stablehlo": Format("model.stablehlo", write_stablehlo, True),
    "onnx": Format("model.onnx", write_onnx, True, _ONNX),
    "safetensors": Format("model.safetensors", write_weights, True),
    "stablehlo_int8": Format("model_int8.stablehlo", write_stablehlo_int8, False),
    "onnx_int8": Format("model_int8.onnx", write_onnx_int8, False, _ONNX),
}
# Suffix -> reads a file to its facts and the function from uint8 images to embeddings.
LOADERS: dict[str, Callable[[Path], tuple[dict[str, Any], EmbedBatch]]] = {
    ".onnx": load_onnx,
    ".safetensors": load_weights,
    ".stablehlo": load_stablehlo,
}
