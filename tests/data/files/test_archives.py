"""Archives and files that want out of their place, lie about themselves, or change in use."""

import io
import os
import resource
import struct
import tarfile
import zipfile

import pytest

from darkrank_jax.data.files.archives import listed_files, open_entries, read_file
from darkrank_jax.errors import UserError
from tests.data.image_files import WHOLE, WRITERS, refusal, write_folder, write_tar, write_zip

pytestmark = pytest.mark.usefixtures("cache")

FILES = {f"{label}/{number}.png": os.urandom(900 + number) for label in "ab" for number in (1, 2)}


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
@pytest.mark.parametrize("form", ["folder", "zip", "tar"])
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


ESCAPES = ["../out.png", "/etc/out.png", "a/../../out.png", "C:\\out.png", "..\\out.png"]


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("form", ["zip", "tar", "tar.gz"])
def test_paths_that_climb_out_of_an_archive(name, form, tmp_path, capsys):
    path = WRITERS[form](tmp_path, WHOLE | {name: b"x"})
    line = f"{path}: entry {name!r} lies outside the archive; unpack the archive where that is safe"
    assert refusal(capsys, path).startswith(line)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_in_a_tar(kind, tmp_path, capsys):
    path = write_tar(tmp_path / "images.tar", WHOLE)
    with tarfile.open(path, "a") as archive:
        entry = tarfile.TarInfo("class 1/link.png")
        entry.type, entry.linkname = kind, "/etc/passwd"
        archive.addfile(entry)
    said = refusal(capsys, path)
    assert said.startswith(
        f"{path}: entry 'class 1/link.png' is a link, sparse or no plain file; unpack"
    )


def test_links_in_a_zip(tmp_path, capsys):
    path = write_zip(tmp_path / "images.zip", WHOLE)
    with zipfile.ZipFile(path, "a") as archive:
        entry = zipfile.ZipInfo("class 1/link.png")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    assert "entry 'class 1/link.png' is a link, sparse or no plain file" in refusal(capsys, path)


def test_an_archive_that_unpacks_to_absurd_size(tmp_path, capsys, cache):
    bomb = bytes(130 * 2**20)
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("class 1/1.png", bomb)
    assert refusal(capsys, path).startswith(f"{path}: unpacks to 136,314,880 bytes or more, over ")
    path = write_tar(tmp_path / "images.tar.gz", {"class 1/1.png": bomb}, "w:gz")
    assert refusal(capsys, path).startswith(f"{path}: unpacks to 1")
    # Nothing is left of what was begun.
    assert not list((cache / "archives").iterdir())


def test_an_entry_of_absurd_size(tmp_path, capsys):
    path = tmp_path / "images.tar"
    entry = tarfile.TarInfo("class 1/1.png")
    entry.size = 2**31
    path.write_bytes(entry.tobuf())
    assert "entry 'class 1/1.png' unpacks to 2,147,483,648 bytes; " in refusal(capsys, path)


@pytest.mark.parametrize("form", ["zip", "tar", "tar.gz", "tar.xz"])
@pytest.mark.parametrize("keep", [0, 300, 0.6])
def test_damaged_archives(form, keep, tmp_path, capsys, cache):
    path = WRITERS[form](tmp_path, WHOLE)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    said = refusal(capsys, path)
    assert said.startswith(f"{path}")
    assert "copy or fetch it again" in said or "unusable" in said or "save it again" in said
    assert not list(cache.glob("archives/*"))
