"""Members of zip archives: read whole, within what is stated, or refused."""

import os
import struct
import subprocess
import sys
import zipfile

import pytest

from darkrank_jax.data.files.archives import open_entries
from darkrank_jax.errors import UserError
from tests.data.image_files import METHODS, change_sizes

pytestmark = pytest.mark.usefixtures("cache")
FILES = {f"{label}/{number}.png": os.urandom(900 + number) for label in "ab" for number in (1, 2)}


def packed(path, files, method):
    with zipfile.ZipFile(path, "w", METHODS[method]) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("start", [b"", b"#!/bin/sh\nself-extracting\n"])
def test_every_member_of_a_zip_is_read_as_it_was_written(method, start, tmp_path):
    files = FILES | {"a/empty.png": b"", "a/long.png": bytes(5_000_000) + os.urandom(70_000)}
    path = packed(tmp_path / "images.zip", files, method)
    path.write_bytes(start + path.read_bytes())
    entries = open_entries(path)
    assert {name: entries.read(name) for name in entries.names} == files


@pytest.mark.parametrize("method", ["deflate", "bzip2", "lzma"])
@pytest.mark.parametrize(("stated", "reason"), [(100, "more than its 100"), (9000, "another size")])
def test_a_member_of_another_size_than_stated_is_refused(method, stated, reason, tmp_path):
    path = packed(tmp_path / "images.zip", {"a/1.png": bytes(5000)}, method)
    change_sizes(path, stated)
    with pytest.raises(UserError, match=rf"^{path}: is no whole archive \(.*{reason}"):
        open_entries(path).read("a/1.png")


@pytest.mark.parametrize("method", METHODS)
def test_a_member_of_another_checksum_is_refused(method, tmp_path):
    path = packed(tmp_path / "images.zip", {"a/1.png": bytes(500)}, method)
    change_sizes(path, 500, checksum=1)
    with pytest.raises(UserError, match="another size or checksum than is stated"):
        open_entries(path).read("a/1.png")


@pytest.mark.parametrize("method", METHODS)
def test_damaged_bytes_of_a_member_are_refused(method, tmp_path):
    path = packed(tmp_path / "images.zip", {"a/1.png": FILES["a/1.png"]}, method)
    data = bytearray(path.read_bytes())
    for place in (45, 60, 300):
        data[place] ^= 0x5A
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"^{path}: is no whole archive \("):
        open_entries(path).read("a/1.png")


BOMB = """
import resource, sys
from pathlib import Path
from darkrank_jax.data.files.archives import open_entries
entries = open_entries(Path(sys.argv[1]))
pages = int(Path("/proc/self/statm").read_text().split()[0])
more = pages * resource.getpagesize() + 150 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (more, more))
try:
    entries.read("a/1.png")
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    "method",
    ["deflate", *(pytest.param(method, marks=pytest.mark.slow) for method in ("bzip2", "lzma"))],
)
def test_a_small_member_that_unpacks_to_hundreds_of_megabytes_takes_no_memory(method, tmp_path):
    path = tmp_path / "images.zip"
    with (
        zipfile.ZipFile(path, "w", METHODS[method]) as archive,
        archive.open("a/1.png", "w") as member,
    ):
        for _ in range(300):
            member.write(bytes(2**20))
    change_sizes(path, 100)
    done = subprocess.run(
        [sys.executable, "-c", BOMB, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": ":".join(sys.path), "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.stdout.startswith(
        f"UserError {path}: is no whole archive (a file in it unpacks to more than its 100 bytes)"
    )


def test_lzma_that_wants_gigabytes_for_its_dictionary_is_refused(tmp_path):
    path = packed(tmp_path / "images.zip", {"a/1.png": bytes(500)}, "lzma")
    data = bytearray(path.read_bytes())
    place = 30 + len("a/1.png") + 5
    data[place : place + 4] = struct.pack("<I", 2**32 - 1)
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"is no whole archive \(Memory usage limit"):
        open_entries(path).read("a/1.png")
