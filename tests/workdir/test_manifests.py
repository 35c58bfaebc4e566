"""Sealed folders: any change of a file is found."""

import json

import pytest

from darkrank_jax.workdir.manifests import NAME, damage, seal


@pytest.fixture
def sealed(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "a").write_bytes(b"first")
    (tmp_path / "inner" / "b").write_bytes(b"second")
    (tmp_path / "may_change").write_bytes(b"x")
    seal(tmp_path, without={"may_change"})
    return tmp_path


def test_a_sealed_folder_is_whole_whatever_comes_later(sealed):
    assert damage(sealed) == ""
    (sealed / "later").write_bytes(b"new")
    (sealed / "may_change").unlink()
    assert damage(sealed) == ""
    assert sorted(json.loads((sealed / NAME).read_text())["files"]) == ["a", "inner/b"]


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a", None, "a is missing"),
        ("inner/b", b"secon", "inner/b has 5 bytes instead of 6"),
        ("inner/b", b"Second", "inner/b is altered"),
        (NAME, None, f"{NAME} is missing"),
        (NAME, b"{", f"{NAME} is altered"),
        (NAME, b'{"files": {"a": ["x", 5]}}', f"{NAME} is altered"),
    ],
)
def test_the_first_difference_is_named(name, content, line, sealed):
    if content is None:
        (sealed / name).unlink()
    else:
        (sealed / name).write_bytes(content)
    assert damage(sealed) == line
