"""Small files that unpack to gigabytes: each mode ends in one line within 3 GiB of addresses."""

import io
import os
import struct
import subprocess
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.command import limited
from tests.data.image_files import METHODS, change_sizes, encoded, layout, write_folder
from tests.data.pixels.picture_files import scans_of_nothing

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the system has no ulimit")

TESTS = Path(__file__).parent
# In KiB, for a shell.
MOST = 3 * 2**20


def refused(place, *arguments):
    """The line of a command that may take 3 GiB of addresses."""
    done = subprocess.run(
        **limited(place, ("-v", MOST), *arguments), capture_output=True, check=False
    )
    (line,) = done.stderr.strip().splitlines()
    assert done.returncode == 2
    return line.removeprefix("error: ")


def deflated(size):
    """Zeros, compressed at once: blocks of deflate may follow each other."""
    pack = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = pack.compress(bytes(2**20)) + pack.flush(zlib.Z_FULL_FLUSH)
    return block * (size >> 20) + zlib.compress(b"", wbits=-zlib.MAX_WBITS)


def write_bomb(path, name, start=b"", stated=None, size=2**32 - 2**21):
    """A zip with a member of `start` and zeros; `stated` is what its list says of the size."""
    packed = struct.pack("<BHH", 0, len(start), 0xFFFF ^ len(start)) + start + deflated(size)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, packed)
    data = bytearray(path.read_bytes())
    for place in (8, data.find(b"PK\1\2") + 10):
        data[place : place + 2] = struct.pack("<H", zipfile.ZIP_DEFLATED)
    path.write_bytes(data)
    change_sizes(path, len(start) + size if stated is None else stated)
    return path


def with_images(path):
    """An archive with sound images behind what it has."""
    with zipfile.ZipFile(path, "a") as archive:
        for name, data in layout().items():
            archive.writestr(name, data)
    return path


def zip_stated(place):
    return with_images(write_bomb(place / "images.zip", "a/1.png"))


def zip_lying(place):
    return with_images(write_bomb(place / "images.zip", "a/1.png", stated=100))


def packed_otherwise(place, method):
    path = place / "images.zip"
    with (
        zipfile.ZipFile(path, "w", METHODS[method]) as archive,
        archive.open("a/1.png", "w") as member,
    ):
        for _ in range(2**10):
            member.write(bytes(2**20))
    change_sizes(path, 100)
    return with_images(path)


def sparse_tar(place):
    path = place / "images.tar"
    entry = tarfile.TarInfo("a/1.png")
    entry.size, entry.pax_headers = 4, {"GNU.sparse.map": "0,4", "GNU.sparse.size": str(2**33)}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(entry, io.BytesIO(b"data"))
    return path


def folder_with(place, name, data):
    return write_folder(place / "images", layout() | {name: data})


def many_pixels(place):
    """A PNG file of 4 gigapixels, which are not there."""
    file = bytearray(encoded(Image.new("L", (8, 8))))
    file[16:24] = struct.pack(">II", 2**16, 2**16)
    file[29:33] = struct.pack(">I", zlib.crc32(file[12:29]))
    return folder_with(place, "class 1/x.png", bytes(file))


def many_scans(place):
    file = encoded(Image.new("RGB", (900, 900)), "JPEG", progressive=True)
    return folder_with(place, "class 1/x.jpg", scans_of_nothing(file, 20_000))


# Name -> what writes it, and what the line says.
SOURCES = {
    "zip": (zip_stated, "entry 'a/1.png' unpacks to 4,292,870,144 bytes"),
    "lying zip": (zip_lying, "unpacks to more than its 100 bytes"),
    "sparse tar": (sparse_tar, "is a link, sparse or no plain file"),
    "pixels": (many_pixels, "cannot be decoded (Image size (4"),
    "scans": (many_scans, "101 or more scans"),
}
SLOW = {
    method: (lambda place, method=method: packed_otherwise(place, method), "more than its 100")
    for method in ("bzip2", "lzma")
}


@pytest.mark.parametrize(
    "name",
    [
        "lying zip",
        *(pytest.param(n, marks=pytest.mark.slow) for n in [*SOURCES, *SLOW] if n != "lying zip"),
    ],
)
def test_a_bomb_among_images_is_refused_in_bounded_memory(name, tmp_path):
    write, expected = (SOURCES | SLOW)[name]
    path = write(tmp_path)
    config = f"--config={TESTS / 'tiny_images_config.py'}"
    fields = [f"--config.data.path={path}", "--config.data.options.tolerated=0.0"]
    line = refused(tmp_path, config, *fields, "--mode=prepare")
    assert expected in line
    assert str(path) in line


def stored_bomb(path, stated):
    """An .npz whose embeddings unpack to 4 GB."""
    header = io.BytesIO()
    rows = (2**32 - 2**21) // 32
    described = {"descr": "<f4", "fortran_order": False, "shape": (rows, 8)}
    np.lib.format.write_array_header_1_0(header, described)
    return write_bomb(path, "embeddings.npy", header.getvalue(), stated)


LYING = pytest.mark.parametrize(
    "stated", [200, pytest.param(None, marks=pytest.mark.slow)], ids=["lying", "stated"]
)


@LYING
def test_a_bomb_among_embeddings_is_refused_in_bounded_memory(stated, tmp_path):
    path = stored_bomb(tmp_path / "a.npz", stated)
    config = f"--config={TESTS / 'tiny_config.py'}"
    networks = f"--config.evaluation.networks={{'student': '{path}'}}"
    line = refused(tmp_path, config, networks, "--mode=eval", f"--workdir={tmp_path / 'run'}")
    assert line.startswith(f"{path}: ")
    assert ("would take 4,29" if stated is None else "more than its 200 bytes") in line


def repeated_rows(path):
    """A Parquet gallery of one vector in millions of rows."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = 2**23
    ids = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), ["a.png"])
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(rows * 8, np.float32)), 8)
    parquet.write_table(pa.table({"id": ids, "vector": vectors}), path, compression="zstd")
    assert path.stat().st_size < 2**20
    return path


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lying", "stated", "parquet"])
def test_a_bomb_of_a_gallery_is_refused_in_bounded_memory(kind, workdir, tmp_path):
    if kind == "parquet":
        path = repeated_rows(tmp_path / "a.parquet")
    else:
        path = stored_bomb(tmp_path / "a.npz", 200 if kind == "lying" else None)
    (tmp_path / "q.png").write_bytes(encoded(Image.new("L", (16, 16))))
    arguments = [f"--gallery={path}", f"--query={tmp_path / 'q.png'}"]
    line = refused(tmp_path, "--mode=search", f"--workdir={workdir}", *arguments)
    assert line.startswith(f"{path}: ")


@pytest.mark.slow
def test_a_bomb_leaves_the_earlier_gallery_as_it_was(workdir, tmp_path):
    folder = many_pixels(tmp_path)
    for path in folder.rglob("*.png"):
        if path.name != "x.png":
            path.unlink()
    gallery = tmp_path / "gallery.npz"
    gallery.write_bytes(b"an earlier one")
    arguments = [f"--images={folder}", f"--output={gallery}"]
    line = refused(tmp_path, "--mode=embed", f"--workdir={workdir}", *arguments)
    assert "x.png" in line
    assert gallery.read_bytes() == b"an earlier one"
    assert {each.name for each in tmp_path.iterdir()} >= {"gallery.npz", "images"}
    assert not [*tmp_path.glob("*gallery*part*")]
