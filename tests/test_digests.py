"""Digests are those of earlier versions, so that what was written under them is found again."""

import os

import numpy as np
import pytest

from darkrank_jax.data import Split
from darkrank_jax.data.files.archives import open_entries
from darkrank_jax.digests import digest, file_digest
from darkrank_jax.evaluation.image_digests import images_digest
from darkrank_jax.export.facts import checksum
from darkrank_jax.export.source import network_digest
from darkrank_jax.training.provenance import input_digests
from darkrank_jax.workdir.manifests import damage, seal

IMAGES = (np.arange(24) * 7 % 251).astype(np.uint8).reshape(2, 4, 3, 1)
SPLIT = Split(IMAGES, np.array([0, 1], np.int32), ("a", "é"))


@pytest.mark.parametrize(
    ("algorithm", "word"),
    [
        ("sha256", "ba7816bf8f01cfea414140de5dae2223"),
        ("blake2b", "ba80a53f981c4d0d6a2797b69f12f6e9"),
        ("blake2b-128", "cf4ab791c62b8d2b2109c90275287816"),
    ],
)
def test_the_digest_of_abc_is_the_published_one(algorithm, word, tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert digest([b"a", b"bc"], algorithm) == file_digest(tmp_path / "file", algorithm) == word


def test_images_keep_their_digests():
    assert SPLIT.images.digest() == "5ba799234e2174ccde7b46ee4a1d54f1"
    what, size, shown = images_digest(SPLIT).split(":")
    assert (what, size) == ("3a373c3f2807831f5bbc8c03728d5ba8", "4x3x1")
    assert shown == "156686efec293d1fa9b0564b70d9c484"


def test_run_json_keeps_its_digests():
    found = input_digests({"train": SPLIT}, "")
    assert found["train split of data"] == "944c355f2f34673d7dc7a50563917d0d"


def test_exports_keep_their_digests():
    assert checksum(b"abc", {"x": 1}) == "4859eb909caf521a99ab9fec52bae46b"
    facts = dict.fromkeys(("model", "mean", "std", "image_shape", "center_crop"), 1)
    variables = {
        "params": {"model": {"k": np.ones(3, np.float32)}},
        "batch_stats": {"m": np.zeros(2, np.float32)},
    }
    assert network_digest(facts, variables) == "edb6aaa430fefab4"


def test_a_manifest_of_an_earlier_version_is_read(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    seal(tmp_path)
    assert '"1ced8f5be2db23a6513eba4d819c73806424748a' in (tmp_path / "manifest.json").read_text()
    assert damage(tmp_path) == ""


def test_a_folder_has_another_digest_once_a_file_changes(tmp_path):
    (tmp_path / "a.png").write_bytes(b"1")
    before = open_entries(tmp_path).digest
    assert open_entries(tmp_path).digest == before
    os.utime(tmp_path / "a.png", ns=(10**18, 10**18))
    assert open_entries(tmp_path).digest != before
