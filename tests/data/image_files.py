"""Images of a user in folders, archives and tables, and what the command says of them."""

import io
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from darkrank_jax import main as command_line
from darkrank_jax.data import SOURCES

own_images = SOURCES["images"]


CONFIG = f"--config={Path(__file__).parents[1] / 'tiny_images_config.py'}"


CLASSES = [f"class {number}" for number in range(1, 11)]


def drawn(seed, size=(20, 24)):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8))


def encoded(picture, kind="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def layout(classes=CLASSES, each=4, prefix=""):
    """Name -> bytes of some images of each class."""
    return {
        f"{prefix}{label}/{number}.png": encoded(
            drawn(zlib.crc32(f"{prefix} {label} {number}".encode("utf-8", "surrogateescape")))
        )
        for label in classes
        for number in range(each)
    }


def write_folder(path, files):
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def write_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_tar(path, files, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def load(path, **options):
    return own_images(path=str(path), image_size=16, **options)


def contents(splits):
    """Class -> its images in order, by split."""
    return {
        name: {
            label: split.images[split.labels == number].tobytes()
            for number, label in enumerate(split.class_names)
        }
        for name, split in splits.items()
    }


WRITERS = {
    "folder": lambda path, files: write_folder(path / "images", files),
    "zip": lambda path, files: write_zip(path / "images.zip", files),
    "tar": lambda path, files: write_tar(path / "images.tar", files),
    "tar.gz": lambda path, files: write_tar(path / "images.tar.gz", files, "w:gz"),
    "tgz": lambda path, files: write_tar(path / "images.tgz", files, "w:gz"),
    "tar.bz2": lambda path, files: write_tar(path / "images.tar.bz2", files, "w:bz2"),
    "tar.xz": lambda path, files: write_tar(path / "images.tar.xz", files, "w:xz"),
}


ROWS = [
    (f"{label}/{number}.png", label, part, f"c{number}")
    for part, labels in (("train", CLASSES[:5]), ("query", CLASSES[5:]), ("gallery", CLASSES[5:]))
    for label in labels
    for number in (range(1) if part == "query" else range(1, 4))
]


def write_table(folder, suffix, columns=("path", "label", "split", "camera"), rows=ROWS):
    write_folder(folder, layout())
    path = folder / f"table{suffix}"
    if suffix == ".parquet":
        arrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        values = dict(zip(columns, zip(*rows, strict=True), strict=False))
        parquet.write_table(arrow.table({key: list(each) for key, each in values.items()}), path)
    else:
        separator = {".csv": ",", ".tsv": "\t"}[suffix]
        lines = [separator.join(row[: len(columns)]) for row in [columns, *rows]]
        path.write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def refusal(capsys, path, *arguments):
    """The one line of a refused command."""
    arguments = [f"--config.data.path={path}", "--mode=prepare", *arguments]
    assert command_line.main(["main", CONFIG, *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line.removeprefix("error: ")


WHOLE = layout()
# Classes of two images, which suffice.
SMALL = layout(CLASSES[:8], 2)


def class_names(splits):
    return {name: set(split.class_names) for name, split in splits.items()}


def renamed(**prefixes):
    """Two images of three classes a prefix, all classes distinct."""
    files = {}
    for number, prefix in enumerate(prefixes.values()):
        files |= layout([f"c{number}{letter}" for letter in "xyz"], 2, f"{prefix}/")
    return files


METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflate": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}


def change_sizes(path, stated, checksum=None):
    """Has the list of a zip's files state another size, and checksum, of each."""
    data = bytearray(path.read_bytes())
    place = -1
    while (place := data.find(b"PK\1\2", place + 1)) >= 0:
        data[place + 24 : place + 28] = struct.pack("<I", stated)
        if checksum is not None:
            data[place + 16 : place + 20] = struct.pack("<I", checksum)
    path.write_bytes(data)
