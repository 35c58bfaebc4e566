"""Archives that want out of their place, or are larger than they say, or damaged."""

import tarfile
import zipfile

import pytest

from tests.data.image_files import WHOLE, WRITERS, refusal, write_tar, write_zip

pytestmark = pytest.mark.usefixtures("cache")


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
