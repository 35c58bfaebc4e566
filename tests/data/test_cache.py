"""The cache folder: whose it is, what is left in it, and what damaged contents cost."""

import errno
import json
import os

import numpy as np
import pytest

from darkrank_jax import files
from darkrank_jax.data import cache_folder
from darkrank_jax.data.cache import replacing_cached
from darkrank_jax.data.files.inspection import inspect
from darkrank_jax.data.files.listing import Line, gather
from darkrank_jax.errors import UserError
from tests.data.image_files import drawn, encoded


def test_the_folder_is_for_its_user_alone(cache):
    folder = cache_folder("compiled")
    assert folder == cache / "compiled"
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757, 0o1777])
def test_a_folder_that_others_can_write_to_is_refused(mode, cache):
    folder = cache_folder("compiled")
    folder.chmod(mode)
    line = rf"^{folder}: must be writable by you alone \(its mode is {mode:o}\)"
    with pytest.raises(UserError, match=line):
        cache_folder("compiled")


@pytest.mark.parametrize(("mode", "refused"), [(0o777, True), (0o775, True), (0o1777, False)])
def test_a_folder_above_that_others_can_write_to_is_refused_unless_sticky(mode, refused, cache):
    cache.chmod(mode)
    if refused:
        with pytest.raises(UserError, match=rf"^{cache}: must be writable by you alone"):
            cache_folder("compiled")
    else:
        assert cache_folder("compiled").is_dir()


def test_a_folder_of_another_user_is_refused(cache, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(UserError, match=rf"^{cache}: must be owned by you .*DARKRANK_CACHE"):
        cache_folder("compiled")


def test_parts_that_killed_processes_left_are_removed_at_the_next_use(cache):
    folder = cache_folder("archives")
    # No process has this number.
    left = folder / f".part-{files.HOST}-{2**22 + 1}-0.tar"
    left.write_bytes(b"begun")
    assert cache_folder("archives") == folder
    assert not list(folder.iterdir())


def test_a_full_disk_of_the_cache_is_named_with_its_variable(cache):
    path = cache_folder("archives") / "a.tar"
    with pytest.raises(UserError) as refusal, replacing_cached(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert str(refusal.value) == (
        f"{path}: cannot be written (No space left on device); free some space, or name another "
        "folder in the environment variable DARKRANK_CACHE"
    )


FILES = {"a/0.png": encoded(drawn(1)), "a/1.png": b"broken", "b/0.png": encoded(drawn(2))}
FILES["b/1.png"] = FILES["b/0.png"]


def listing(folder, reads):
    def read(name):
        reads.append(name)
        return FILES[name]

    lines = [Line(name, name[0]) for name in FILES]
    return gather(lines, read=read, where=folder, digest="f")


def state_of(path, **changes):
    return json.dumps(json.loads(path.read_text()) | changes)


FOUND = {"broken": [], "twice": [], "unread": []}
DAMAGES = {
    "empty": lambda path: "",
    "cut": lambda path: path.read_text()[:30],
    "zeros": lambda path: "\0" * 100,
    "list": lambda path: "[]",
    "null": lambda path: "null",
    "number": lambda path: "3",
    "deep": lambda path: "[" * 100_000,
    "another version": lambda path: state_of(path, version=1),
    "another limit": lambda path: state_of(path, max_megapixels=7),
    "without its kinds": lambda path: state_of(path, found={}),
    "more kinds": lambda path: state_of(path, found=FOUND | {"more": []}),
    "no rows": lambda path: state_of(path, found=FOUND | {"twice": None}),
    "text for rows": lambda path: state_of(path, found=FOUND | {"twice": "ab"}),
    "row of text": lambda path: state_of(path, found=FOUND | {"broken": [["1", "x"]]}),
    "row of three": lambda path: state_of(path, found=FOUND | {"broken": [[1, "x", 2]]}),
    "true row": lambda path: state_of(path, found=FOUND | {"broken": [[True, "x"]]}),
    "row beyond": lambda path: state_of(path, found=FOUND | {"broken": [[4, "x"]]}),
    "row below": lambda path: state_of(path, found=FOUND | {"broken": [[-1, "x"]]}),
    "reason of a number": lambda path: state_of(path, found=FOUND | {"broken": [[1, 2]]}),
    "more fields": lambda path: state_of(path, more=1),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_inspection_is_made_again(damage, tmp_path, cache):
    reads = []
    source = listing(tmp_path, reads)
    options = {"tolerated": 0.5, "max_megapixels": 100}
    for expected in (4, 4):
        np.testing.assert_array_equal(inspect(source, **options), [0, 2])
        assert len(reads) == expected
    (path,) = (cache / "inspections").iterdir()
    whole = path.read_bytes()
    path.write_text(DAMAGES[damage](path))
    np.testing.assert_array_equal(inspect(source, **options), [0, 2])
    assert len(reads) == 8
    assert path.read_bytes() == whole


def test_too_little_memory_for_a_picture_is_not_remembered(tmp_path, cache, monkeypatch):
    def fail(*_):
        raise MemoryError

    reads = []
    source = listing(tmp_path, reads)
    options = {"tolerated": 1, "max_megapixels": 100}
    with monkeypatch.context() as patched:
        patched.setattr("darkrank_jax.data.pixels.pictures.decode_bytes", fail)
        assert not len(inspect(source, **options))
    np.testing.assert_array_equal(inspect(source, **options), [0, 2])
