"""Omniglot from its archives: split by character, and what is missing or damaged is named."""

import io
import logging
import os
import re
import zipfile

import numpy as np
import pytest
from PIL import Image

from darkrank_jax import main as command_line
from darkrank_jax.data import SOURCES
from darkrank_jax.errors import UserError

omniglot = SOURCES["omniglot"]


def class_names(splits):
    return [set(split.class_names) for split in splits.values()]


@pytest.mark.parametrize(
    ("option", "value", "line"),
    [
        ("seed", -3, "seed: must be 0 to 4294967295 (got -3)"),
        ("validation_fraction", float("nan"), "validation_fraction: must be 0 to 1 (got nan)"),
        (
            "validation_fraction",
            0.05,
            "validation_fraction: must leave 1 to 5 of 7 characters to validate on (got 0.05, ",
        ),
        (
            "validation_fraction",
            0.9,
            "validation_fraction: must leave 1 to 5 of 7 characters to validate on (got 0.9, ",
        ),
    ],
)
def test_omniglot_refuses_numbers_out_of_range(folder, option, value, line):
    with pytest.raises(UserError, match=f"^{re.escape(f'data.options.{line}')}"):
        omniglot(path=str(folder), image_size=16, **{option: value})


def drawing(rng):
    buffer = io.BytesIO()
    Image.fromarray(rng.random((105, 105)) > 0.1).save(buffer, "PNG")
    return buffer.getvalue()


def write_archive(path, part, characters, *, drawers=5, spoilt=()):
    """An archive of the authors' layout; `spoilt` images are no images."""
    rng = np.random.default_rng(len(characters))
    with zipfile.ZipFile(path, "w") as archive:
        for character in characters:
            for drawer in range(drawers):
                name = f"{part}/{character}/0001_{drawer:02d}.png"
                broken = (character, drawer) in spoilt
                archive.writestr(name, b"no image" if broken else drawing(rng))


@pytest.fixture
def folder(tmp_path):
    background = [f"Greek/character{i:02d}" for i in range(6)] + ["Latin/character01"]
    write_archive(tmp_path / "images_background.zip", "images_background", background)
    evaluation = ["Tengwar/character01", "Tengwar/character02"]
    write_archive(tmp_path / "images_evaluation.zip", "images_evaluation", evaluation)
    return tmp_path


def test_omniglot_tests_on_the_evaluation_archive(folder):
    splits = omniglot(path=str(folder), image_size=20, validation_fraction=0.3)
    assert [len(names) for names in class_names(splits)] == [5, 2, 2]
    assert set(splits["test"].class_names) == {"Tengwar/character01", "Tengwar/character02"}
    assert len(set.union(*class_names(splits))) == 9
    assert splits["train"].images.shape == (25, 20, 20, 1)
    # Nine tenths of the paper are white, which is 0 here.
    assert splits["train"].images.mean() == pytest.approx(25.5, rel=0.05)


def test_omniglot_is_found_by_the_environment(folder, monkeypatch, tmp_path_factory):
    parent = tmp_path_factory.mktemp("data")
    (parent / "omniglot").symlink_to(folder)
    monkeypatch.setenv("DARKRANK_DATA", str(parent))
    assert len(omniglot(path="", image_size=16)["test"].labels) == 10


CONFIG = """
from tests import tiny_config
def get_config():
    config = tiny_config.small()
    config.data.update({{"source": "omniglot", "path": {path!r}}})
    config.data.options = {{}}
    config.losses = {{"triplet": {{"weight": 1.0}}}}
    return config
"""


@pytest.fixture
def refusal(capsys, tmp_path_factory):
    """The one line in which a whole command ends that reads Omniglot from a folder."""

    def line(folder):
        place = tmp_path_factory.mktemp("run")
        (place / "config.py").write_text(CONFIG.format(path=str(folder)))
        arguments = [f"--config={place / 'config.py'}", f"--workdir={place / 'w'}"]
        assert command_line.main(["main", *arguments]) == 2
        (said,) = capsys.readouterr().err.strip().splitlines()
        return said.removeprefix("error: ")

    return line


def test_omniglot_without_a_path(monkeypatch, refusal):
    monkeypatch.delenv("DARKRANK_DATA", raising=False)
    assert "data.path: must be the folder that holds images_background.zip and " in refusal("")


def test_omniglot_with_a_missing_archive(folder, refusal):
    (folder / "images_evaluation.zip").unlink()
    assert refusal(folder).startswith(f"{folder / 'images_evaluation.zip'}: must exist")


@pytest.mark.parametrize("keep", [0, 17, 2000])
def test_omniglot_with_a_truncated_archive(folder, keep, refusal):
    path = folder / "images_background.zip"
    path.write_bytes(path.read_bytes()[:keep])
    assert refusal(folder).startswith(f"{path}: is no whole zip archive")


@pytest.mark.parametrize("place", [8, 10])
def test_omniglot_of_a_compression_that_is_not_known(place, folder, refusal):
    path = folder / "images_background.zip"
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + place] = 9 if place == 10 else 1
    path.write_bytes(data)
    line = "is compressed by Deflate64" if place == 10 else "is encrypted; unpack it"
    assert line in refusal(folder)


def test_omniglot_with_something_else(folder, refusal):
    path = folder / "images_background.zip"
    path.write_text("<html>not found</html>")
    assert refusal(folder).startswith(f"{path}: is no whole zip archive")


def test_omniglot_with_an_archive_of_no_images(folder, refusal):
    path = folder / "images_background.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("README", "nothing")
    assert refusal(folder) == f"{path}: holds no .png; fetch it again from its authors"


def test_an_undecodable_image_is_named_and_left_out(folder, caplog):
    characters = [f"Greek/character{i:02d}" for i in range(30)]
    path = folder / "images_background.zip"
    spoilt = [("Greek/character07", 2)]
    write_archive(path, "images_background", characters, spoilt=spoilt)
    with caplog.at_level(logging.WARNING):
        splits = omniglot(path=str(folder), image_size=16)
    assert sum(len(splits[name].labels) for name in ("train", "validation")) == 149
    (record,) = caplog.records
    name = "images_background/Greek/character07/0001_02.png"
    assert f"1 of 150 images cannot be decoded, first {name}" in record.getMessage()


def test_too_many_undecodable_images_are_refused(folder, refusal):
    path = folder / "images_evaluation.zip"
    write_archive(path, "images_evaluation", ["A/b", "A/c"], spoilt=[("A/b", 1), ("A/c", 0)])
    assert refusal(folder).startswith(f"{path}: 2 of 10 images cannot be decoded, first ")


@pytest.mark.skipif("DARKRANK_DATA" not in os.environ, reason="DARKRANK_DATA is not set")
def test_the_real_omniglot_has_its_published_counts():
    splits = omniglot(path="", image_size=28)
    assert len(splits["train"].class_names) + len(splits["validation"].class_names) == 964
    assert len(splits["train"].labels) + len(splits["validation"].labels) == 19280
    assert splits["test"].images.shape == (13180, 28, 28, 1)
    assert len(splits["test"].class_names) == 659
