"""WebDataset's shards, read at random: the same images and classes as from a folder."""

import json
import pickle
import uuid

import fsspec
import numpy as np
import pytest

from darkrank_jax.data import SOURCES
from darkrank_jax.data.files.shards import expand, is_shards, shard_listing
from darkrank_jax.errors import UserError
from tests.data.image_files import CLASSES, contents, layout, load, write_folder, write_tar

FILES = layout(CLASSES, 7)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("DARKRANK_CACHE", str(tmp_path / "cache"))


def shards_of(label_file, number=3):
    """The files of each shard: the images in order, each with its class."""
    shards = [{} for _ in range(number)]
    for place, (name, data) in enumerate(sorted(FILES.items())):
        label = name.partition("/")[0]
        key = f"{place:04}"
        shards[place * number // len(FILES)] |= {f"{key}.png": data} | label_file(key, label)
    return shards


def write(folder, label_file):
    for number, files in enumerate(shards_of(label_file)):
        write_tar(folder / f"shard-{number:03}.tar", files)
    return f"{folder}/shard-{{000..002}}.tar"


LABELS = {
    "cls": lambda key, label: {f"{key}.cls": label.encode()},
    "json": lambda key, label: {f"{key}.json": json.dumps({"label": label, "w": 3}).encode()},
    "first": lambda key, label: {f"{key}.txt": b"caption", f"{key}.cls": label.encode()},
}


@pytest.mark.parametrize("kind", LABELS)
def test_shards_have_the_pixels_and_classes_of_a_folder(kind, tmp_path):
    folder = load(write_folder(tmp_path / "images", FILES))
    found = load(write(tmp_path, LABELS[kind]))
    assert contents(found) == contents(folder)
    assert found["train"].names[0].endswith(".png")
    # Again, from the index alone.
    again = load(f"{tmp_path}/shard-{{000..002}}.tar")
    assert contents(again) == contents(folder)


def test_shards_without_labels_are_the_folder_in_its_order(tmp_path):
    folder = write_folder(tmp_path / "images", FILES)
    path = write(tmp_path, lambda key, label: {})
    found, expected = (
        SOURCES["unlabelled"](path=str(each), image_size=16, validation_images=12)
        for each in (path, folder)
    )
    for name, split in expected.items():
        np.testing.assert_array_equal(found[name].images[:], split.images[:])
        np.testing.assert_array_equal(found[name].labels, split.labels)


def test_shards_at_another_place_are_read_there(tmp_path):
    expected = load(write(tmp_path, LABELS["cls"]))
    where = f"memory://{uuid.uuid4().hex}"
    for number in range(3):
        with fsspec.open(f"{where}/s-{number}.tar", "wb") as file:
            file.write((tmp_path / f"shard-{number:03}.tar").read_bytes())
    found = load(f"{where}/s-{{0..2}}.tar")
    assert contents(found) == contents(expected)
    with pytest.raises(UserError, match="cannot be reached"):
        load(f"{where}/s-{{0..3}}.tar")


def test_what_other_processes_are_sent_is_small_and_reads_the_same(tmp_path):
    files = shard_listing(write(tmp_path, LABELS["cls"]), labelled=True).files
    sent = pickle.dumps(files)
    assert len(sent) < 1000
    other = pickle.loads(sent)
    assert [other.bytes_of(n) for n in (0, 33, 69)] == [files.bytes_of(n) for n in (0, 33, 69)]
    assert other.name(33) == "0033.png"
    assert other.path(69).endswith("shard-002.tar/0069.png")


def test_the_index_takes_twenty_four_bytes_an_image_and_its_name(tmp_path):
    shard_listing(write(tmp_path, LABELS["cls"]), labelled=True)
    (index,) = (tmp_path / "cache" / "shards").iterdir()
    sizes = {file.name: file.stat().st_size for file in index.iterdir()}
    images = sum(sizes[name] for name in ("starts", "sizes", "labels", "name_ends"))
    assert (images, sizes["names"], sizes["shard_ends"]) == (24 * 70, 70 * len("0000.png"), 3 * 8)


def test_a_changed_shard_is_indexed_again_and_never_read_as_before(tmp_path):
    path = write(tmp_path, LABELS["cls"])
    files = shard_listing(path, labelled=True).files
    write_tar(tmp_path / "shard-001.tar", shards_of(LABELS["json"])[1])
    with pytest.raises(UserError, match=r"shard-001\.tar: has changed since it was listed"):
        files.bytes_of(30)
    assert files.bytes_of(3) == FILES[sorted(FILES)[3]]
    assert shard_listing(path, labelled=True).files.bytes_of(30) == FILES[sorted(FILES)[30]]


REFUSED = {
    "has no class; add": {"a.png": b"1"},
    "has two images": {"a.png": b"1", "a.jpg": b"2", "a.cls": b"3"},
    "cannot be read (": {"a.png": b"1", "a.json": b"{"},
    "label must be text or a whole number (got [1])": {"a.png": b"1", "a.json": b'{"label": [1]}'},
    "holds no image": {"a.txt": b"1"},
    "lies outside the archive": {"../a.png": b"1", "../a.cls": b"1"},
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_is_no_sample_is_refused(line, tmp_path):
    write_tar(tmp_path / "s-0.tar", REFUSED[line])
    with pytest.raises(UserError) as error:
        shard_listing(f"{tmp_path}/s-{{0..0}}.tar", labelled=True)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("cut", [700, -1500])
def test_a_shard_that_was_cut_off_is_refused(cut, tmp_path):
    path = write(tmp_path, LABELS["cls"])
    shard = tmp_path / "shard-002.tar"
    shard.write_bytes(shard.read_bytes()[:cut].rstrip(b"\0"))
    with pytest.raises(UserError, match=r"shard-002\.tar: is no whole tar file \("):
        shard_listing(path, labelled=True)
    assert not list((tmp_path / "cache" / "shards").glob("[0-9a-f]*"))


def test_a_damaged_index_says_what_to_delete(tmp_path):
    path = write(tmp_path, LABELS["cls"])
    shard_listing(path, labelled=True)
    (index,) = (tmp_path / "cache" / "shards").iterdir()
    (index / "starts").write_bytes((index / "starts").read_bytes()[:-8])
    with pytest.raises(UserError, match=f"{index}: is damaged; delete it"):
        shard_listing(path, labelled=True)


@pytest.mark.parametrize("path", ["s-{3..1}.tar", "s-{0..1}-{0..1}.tar", "s-{0..9999999}.tar"])
def test_ranges_that_are_none_are_refused(path):
    assert is_shards(path)
    with pytest.raises(UserError, match="must have one range of shards"):
        expand(path)


def test_a_missing_shard_is_named(tmp_path):
    write_tar(tmp_path / "s-0.tar", REFUSED["has two images"])
    with pytest.raises(UserError, match=r"s-1\.tar: must exist"):
        shard_listing(f"{tmp_path}/s-{{0..1}}.tar", labelled=True)
