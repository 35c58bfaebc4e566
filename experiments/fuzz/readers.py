"""Every reader of files that others may have made: files to damage, and what reads them."""

import functools
import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from PIL import Image

import darkrank_jax
from darkrank_jax.data import SOURCES, Split
from darkrank_jax.data.pixels.pictures import decode
from darkrank_jax.evaluation.stored import read_stored
from darkrank_jax.inference.gallery import Gallery, read_gallery, write_gallery
from darkrank_jax.models import MODELS
from darkrank_jax.models.pretrained import channels_first, load_weights, tensor_name
from darkrank_jax.runs.results import read_results
from darkrank_jax.training.teacher import embeddings as stored_embeddings
from darkrank_jax.workdir.metrics_log import read_log
from darkrank_jax.workdir.run_file import recorded_run
from experiments.fuzz.edits import edits_of_bytes, edits_of_json, edits_of_zip

Edits = Callable[[], st.SearchStrategy[Any]]
SIZE = (16, 16)


class Reader(NamedTuple):
    """Something that reads files of strangers.

    Attributes:
      make: writes whole files into a folder, given that of a finished and exported run.
      read: reads one of them.
      edits: what damages them.
    """

    make: Callable[[Path, Path], list[Path]]
    read: Callable[[Path], Any]
    edits: tuple[Edits, ...] = (edits_of_bytes,)


def _picture(seed: int, size: tuple[int, int] = (24, 20), mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).convert(mode)


def _encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _pictures(folder: Path, run: Path) -> list[Path]:
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "plain.jpg": _encoded(_picture(1), "JPEG"),
        "turned.jpg": _encoded(_picture(2), "JPEG", exif=exif),
        "progressive.jpg": _encoded(_picture(3), "JPEG", progressive=True),
        "cmyk.jpg": _encoded(_picture(4, mode="CMYK"), "JPEG"),
        "plain.png": _encoded(_picture(5), "PNG"),
        "alpha.png": _encoded(_picture(6, mode="RGBA"), "PNG"),
        "palette.png": _encoded(_picture(7).quantize(8), "PNG", transparency=0),
        "deep.png": _encoded(
            Image.fromarray(np.arange(480, dtype=np.uint16).reshape(24, 20)), "PNG"
        ),
        "plain.webp": _encoded(_picture(8), "WEBP"),
        "plain.gif": _encoded(_picture(9), "GIF"),
        "plain.bmp": _encoded(_picture(10), "BMP"),
        "packed.tif": _encoded(_picture(11), "TIFF", compression="tiff_lzw"),
    }
    return _write(folder, files)


def _write(folder: Path, files: dict[str, bytes]) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in files]


def _layout() -> dict[str, bytes]:
    """Ten classes of three images."""
    return {
        f"c{label}/{number}.png": _encoded(_picture(10 * label + number, (8, 8)), "PNG")
        for label in range(10)
        for number in range(3)
    }


def _archives(folder: Path, run: Path) -> list[Path]:
    for name, method in {"a.zip": zipfile.ZIP_STORED, "b.zip": zipfile.ZIP_DEFLATED}.items():
        with zipfile.ZipFile(folder / name, "w", method) as archive:
            for entry, data in _layout().items():
                archive.writestr(entry, data)
    for name, mode in {"a.tar": "w", "b.tar.gz": "w:gz"}.items():
        with tarfile.open(folder / name, mode) as archive:  # pyright: ignore[reportCallIssue, reportArgumentType]
            for entry, data in _layout().items():
                header = tarfile.TarInfo(entry)
                header.size = len(data)
                archive.addfile(header, io.BytesIO(data))
    return [folder / name for name in ("a.zip", "b.zip", "a.tar", "b.tar.gz")]


def _tables(folder: Path, run: Path) -> list[Path]:
    import pyarrow
    from pyarrow import parquet

    for name, data in _layout().items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    rows = [(name, name[:2], "train" if name < "c5" else "test") for name in _layout()]
    for suffix, mark in {".csv": ",", ".tsv": "\t"}.items():
        lines = [mark.join(row) for row in [("path", "label", "split"), *rows]]
        (folder / f"t{suffix}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    columns = dict(zip(("path", "label", "split"), map(list, zip(*rows, strict=True)), strict=True))
    parquet.write_table(pyarrow.table(columns), folder / "t.parquet", compression="none")
    return [folder / f"t{suffix}" for suffix in (".csv", ".tsv", ".parquet")]


def _read_images(path: Path) -> None:
    """Lists the images of an archive or a table, and decodes a few."""
    for split in SOURCES["images"](path=str(path), image_size=16, tolerated=1.0).values():
        np.asarray(split.images[: min(3, len(split.labels))])


def _galleries(folder: Path, run: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    facts = darkrank_jax.load_run(run / "export" / "model.safetensors").facts
    gallery = Gallery(
        np.array([f"{i}.png" for i in range(9)]),
        np.array([f"c{i % 3}" for i in range(9)]),
        rng.normal(size=(9, facts["embedding_dim"])).astype(np.float32),
        facts | {"place": "x"},
    )
    paths = [folder / f"g{suffix}" for suffix in (".npz", ".parquet", ".faiss")]
    for path in paths:
        write_gallery(gallery, path)
    return [*paths, folder / "g.faiss.npz"]


def _read_gallery(path: Path) -> None:
    read_gallery(path.with_suffix("") if path.name == "g.faiss.npz" else path)


def _embeddings(folder: Path, run: Path) -> list[Path]:
    vectors = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    rows = np.arange(9)
    np.savez(folder / "a.npz", embeddings=vectors, labels=rows % 3, cameras=rows, ids=rows)
    np.savez_compressed(folder / "b.npz", vectors=vectors, labels=(rows % 3).astype(str), ids=rows)
    np.save(folder / "c.npy", vectors)
    return [folder / name for name in ("a.npz", "b.npz", "c.npy")]


def _read_embeddings(path: Path) -> None:
    """As an evaluation reads them, and as a student's teacher."""
    images = np.zeros((9, 2, 2, 1), np.uint8)
    split = Split(images, np.arange(9) % 3, tuple("abc"))
    if path.suffix == ".npz":
        read_stored(path)
    stored_embeddings.read_teacher_embeddings(path, split)


def _weights(folder: Path, run: Path) -> list[Path]:
    import jax
    from flax import traverse_util
    from safetensors.numpy import save_file

    backbone = _backbone()
    images = np.zeros((1, 16, 16, 3), np.float32)
    variables = backbone.init(jax.random.key(0), images, train=False)
    flat: dict[Any, Any] = traverse_util.flatten_dict(variables)
    tensors = {tensor_name(k, backbone): channels_first(np.asarray(v)) for k, v in flat.items()}
    save_file(tensors, folder / "w.safetensors")
    return [folder / "w.safetensors"]


@functools.cache
def _backbone() -> Any:
    return MODELS["resnet10"](width=4, stem="small")


def _read_weights(path: Path) -> None:
    load_weights(path, _backbone(), image_shape=(16, 16, 3))


def _exports(suffix: str) -> Callable[[Path, Path], list[Path]]:
    def make(folder: Path, run: Path) -> list[Path]:
        names = [each.name for each in (run / "export").glob(f"model{suffix}*")]
        for name in names:
            shutil.copy(run / "export" / name, folder / name)
        return [folder / name for name in names]

    return make


def _read_export(path: Path) -> None:
    # Beside the StableHLO lies a file of facts about it.
    network = darkrank_jax.load_run(path.with_suffix("") if path.suffix == ".json" else path)
    network.embed(np.zeros((1, *network.facts["image_shape"]), np.uint8))


def _of_run(*names: str) -> Callable[[Path, Path], list[Path]]:
    def make(folder: Path, run: Path) -> list[Path]:
        for name in names:
            shutil.copy(run / name, folder / name)
        return [folder / name for name in names]

    return make


READERS: dict[str, Reader] = {
    "pictures": Reader(
        _pictures,
        lambda path: decode(path.read_bytes(), path.name, size=SIZE, grayscale=False),
    ),
    "archives": Reader(_archives, _read_images),
    "tables": Reader(_tables, _read_images),
    "galleries": Reader(_galleries, _read_gallery, (edits_of_bytes, edits_of_zip)),
    "embeddings": Reader(_embeddings, _read_embeddings, (edits_of_bytes, edits_of_zip)),
    "weights": Reader(_weights, _read_weights),
    "exported safetensors": Reader(_exports(".safetensors"), _read_export),
    "exported ONNX": Reader(_exports(".onnx"), _read_export),
    "exported StableHLO": Reader(_exports(".stablehlo"), _read_export),
    "run.json": Reader(
        _of_run("run.json"),
        lambda path: recorded_run(path.parent),
        (edits_of_bytes, edits_of_json),
    ),
    "results.json": Reader(
        _of_run("results.json"),
        read_results,
        (edits_of_bytes, edits_of_json),
    ),
    "metrics.jsonl": Reader(
        _of_run("metrics.jsonl"),
        lambda path: read_log(path.parent),
        (edits_of_bytes, edits_of_json),
    ),
}
