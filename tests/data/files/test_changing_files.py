"""Archives and files that are other than they state, or change while they are used."""

import io
import os
import resource
import struct
import subprocess
import sys
import tarfile
import zipfile

import pytest

from darkrank_jax.data.files.archives import listed_files, open_entries, read_file
from darkrank_jax.errors import UserError
from tests.data.image_files import write_folder, write_tar, write_zip

pytestmark = pytest.mark.usefixtures("cache")

FILES = {f"{label}/{number}.png": os.urandom(900 + number) for label in "ab" for number in (1, 2)}
WRITERS = {
    "folder": lambda path, files: write_folder(path / "images", files),
    "zip": lambda path, files: write_zip(path / "images.zip", files),
    "tar": lambda path, files: write_tar(path / "images.tar", files),
}
METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflate": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}


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


def change_sizes(path, stated, checksum=None):
    """Has the list of a zip's files state another size, and checksum, of each."""
    data = bytearray(path.read_bytes())
    place = -1
    while (place := data.find(b"PK\1\2", place + 1)) >= 0:
        data[place + 24 : place + 28] = struct.pack("<I", stated)
        if checksum is not None:
            data[place + 16 : place + 20] = struct.pack("<I", checksum)
    path.write_bytes(data)


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


def test_a_zip_whose_list_would_fill_the_memory_is_refused(tmp_path):
    path = write_zip(tmp_path / "images.zip", FILES)
    data = bytearray(path.read_bytes())
    data[-10:-6] = struct.pack("<I", 2**27 + 1)
    path.write_bytes(data)
    with pytest.raises(UserError, match="its list of files has 134,217,729 bytes or more; unpack"):
        open_entries(path)


def test_a_sparse_entry_of_a_tar_is_refused(tmp_path):
    path = tmp_path / "images.tar"
    entry = tarfile.TarInfo("a/1.png")
    entry.size, entry.pax_headers = 4, {"GNU.sparse.map": "0,4", "GNU.sparse.size": "4000"}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(entry, io.BytesIO(b"data"))
    with pytest.raises(UserError, match=r"entry 'a/1\.png' is a link, sparse or no plain file"):
        open_entries(path)


def test_of_doubled_entries_of_a_tar_the_last_counts(tmp_path):
    path = write_tar(tmp_path / "images.tar", FILES)
    with tarfile.open(path, "a") as archive:
        entry = tarfile.TarInfo("a/1.png")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"new"))
    entries = open_entries(path)
    assert sorted(entries.names) == sorted(FILES)
    assert entries.read("a/1.png") == b"new"
    assert entries.read("a/2.png") == FILES["a/2.png"]


def rewrite(path):
    """Other bytes of the same number at another time."""
    file = path / "a/1.png" if path.is_dir() else path
    file.write_bytes(bytes(reversed(file.read_bytes())))


def truncate(path):
    file = path / "a/1.png" if path.is_dir() else path
    os.truncate(file, 188)


def extend(path):
    with open(path / "a/1.png" if path.is_dir() else path, "ab") as file:
        file.write(b"more")


def replace(path):
    file = path / "a/1.png" if path.is_dir() else path
    other = file.with_name("other")
    other.write_bytes(file.read_bytes())
    os.utime(other, ns=(1, 1))
    other.replace(file)


@pytest.mark.parametrize("change", [rewrite, truncate, extend, replace])
@pytest.mark.parametrize("form", WRITERS)
def test_a_source_that_changes_after_it_was_listed_is_named(form, change, tmp_path):
    path = WRITERS[form](tmp_path, FILES)
    entries = open_entries(path)
    assert entries.read("a/1.png") == FILES["a/1.png"]
    os.utime(path / "a/1.png" if form == "folder" else path, ns=(5, 5))
    entries = open_entries(path)
    change(path)
    named = path / "a/1.png" if form == "folder" else path
    with pytest.raises(UserError) as refusal:
        entries.read("a/1.png")
    assert str(refusal.value) == (
        f"{named}: has changed since it was listed; give the command again"
    )
    if form == "folder":
        assert entries.read("b/1.png") == FILES["b/1.png"]


def test_a_file_that_changes_while_it_is_read_is_named(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(bytes(5000))

    def cut(stamp):
        os.truncate(path, 188)
        return True

    with pytest.raises(UserError, match=rf"^{path}: has changed since it was listed"):
        read_file(path, cut)


@pytest.mark.parametrize("number", [0, 1, 300])
def test_each_of_many_listed_files_is_known_by_its_name(number, tmp_path):
    names = [f"{each}.png" for each in range(number)]
    write_folder(tmp_path, {name: name.encode() for name in names})
    read, first = listed_files(tmp_path, names, "")
    assert [read(name) for name in names] == [name.encode() for name in names]
    assert listed_files(tmp_path, names, "")[1] == first


def len_or_half(damage):
    return "half" if damage is None else f"{len(damage)} bytes"


@pytest.mark.parametrize("damage", [None, b"", b"cut", bytes(20_000)], ids=len_or_half)
def test_a_damaged_decompressed_archive_is_made_again(damage, tmp_path, cache):
    path = write_tar(tmp_path / "images.tar.gz", FILES, "w:gz")
    open_entries(path)
    (kept,) = (cache / "archives").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    entries = open_entries(path)
    assert kept.read_bytes() == whole
    assert {name: entries.read(name) for name in entries.names} == FILES


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png: must be a regular file; leave it out"):
        read_file(tmp_path / "a.png")


def test_too_many_open_files_are_not_blamed_on_the_file(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(UserError) as refusal:
            read_file(tmp_path / "a.png")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    advice = "cannot be read (Too many open files); raise the limit of open files (ulimit -n)"
    assert str(refusal.value) == f"{tmp_path / 'a.png'}: {advice}"
