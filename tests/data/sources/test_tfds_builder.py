"""Standard sets built into tensorflow-datasets' files."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from darkrank_jax.data import Split, batches
from darkrank_jax.data.sources import tfds_builder
from darkrank_jax.data.sources.standard_sets import find_images
from darkrank_jax.errors import UserError
from tests.layouts import (
    LAYOUTS,
    cub200,
    jpeg,
    load_set,
    write,
)
from tests.marks import slow_but

pytestmark = pytest.mark.usefixtures("cache")


def by_part(splits):
    """The authors' part of each split: training, and the test or its queries and gallery."""
    test = splits["test"]
    yield from (("train", splits["train"]), ("train", splits["validation"]))
    if test.queries is None:
        yield "test", test
        return
    for part, rows in (("query", test.queries), ("gallery", ~test.queries)):
        cameras = None if test.cameras is None else test.cameras[rows]
        images_ = test.images.select(np.flatnonzero(rows))
        yield part, Split(images_, test.labels[rows], test.class_names, cameras)


@pytest.mark.parametrize("name", slow_but({"cub200", "market1501", "sop"}, LAYOUTS))
def test_a_set_is_built_once_with_its_files_as_they_are(name, tmp_path, monkeypatch):
    monkeypatch.delenv("DARKRANK_DATA", raising=False)
    files, expected = LAYOUTS[name]()
    found = find_images(name, write(tmp_path, files))
    load_set(name, tmp_path)
    for path in tmp_path.iterdir():
        if path.name != "built":
            path.rename(tmp_path / "built" / path.name)
    # Wherever they lie, they are the same; and what was built serves without them.
    with monkeypatch.context() as patched:
        patched.setattr(tfds.core.DatasetBuilder, "download_and_prepare", None)
        moved, splits = load_set(name, tmp_path), load_set(name, tmp_path, "")
    for use, split in splits.items():
        assert split.images.digest() == moved[use].images.digest()
    assert splits.keys() == {"train", "validation", "test"}
    assert_workers_read(splits["train"])
    assert len(splits["train"].class_names) + len(splits["validation"].class_names) == 4
    assert len(splits["test"].class_names) == max(
        number for part, number in expected.items() if part != "train"
    )
    for part, split in by_part(splits):
        names = split.class_names
        inside = [x for x in found if x.place.part == part and x.place.label in names]
        decoded = [np.asarray(Image.open(io.BytesIO(bytes_of(files, x.name)))) for x in inside]
        np.testing.assert_array_equal(split.images[:], np.stack(decoded))
        assert [names[label] for label in split.labels] == [x.place.label for x in inside]
        if "query" in expected and name != "inshop":
            cameras = [x.place.camera for x in inside]
            same = np.equal.outer(cameras, cameras)
            np.testing.assert_array_equal(np.equal.outer(split.cameras, split.cameras), same)
        else:
            assert split.cameras is None


def assert_workers_read(split):
    """The records are read by other processes as by this one."""
    arguments = {"seed": 2, "first_step": 0, "num_steps": 1, "batch_size": 2, "num_threads": 1}
    arguments |= {"images_per_class": 1, "augmentation": {}}
    (one,) = batches(split, **arguments)
    (other,) = batches(split, num_workers=1, **arguments)
    np.testing.assert_array_equal(one["images"], other["images"])


def bytes_of(files, name):
    """The bytes that were written under a name."""
    return next(content[name] for content in files.values() if name in content)


def test_another_archive_is_built_anew_and_is_other_images(tmp_path, monkeypatch):
    monkeypatch.delenv("DARKRANK_DATA", raising=False)
    few = load_set("cub200", write(tmp_path, cub200()[0]))
    more = {f"CUB_200_2011/images/030.Fish_Crow/{k}.jpg": jpeg(k) for k in range(3)}
    (content,) = cub200()[0].values()
    write(tmp_path, {"CUB_200_2011.tgz": content | more})
    again = load_set("cub200", tmp_path)
    assert sum(len(split.labels) for split in few.values()) == 12
    assert sum(len(split.labels) for split in again.values()) == 15
    assert again["test"].images.digest() != few["test"].images.digest()
    # Two were built; which is meant only their archives can say.
    with pytest.raises(UserError, match=r"^data\.path: must be the folder that holds the archives"):
        load_set("cub200", tmp_path, "")


def test_what_tfds_built_itself_serves_without_archives(tmp_path, monkeypatch):
    monkeypatch.delenv("DARKRANK_DATA", raising=False)
    data = write(tmp_path / "data", cub200()[0])
    config = tfds.download.DownloadConfig(manual_dir=str(data))
    folder = {"data_dir": tmp_path / "built", "file_format": "array_record"}
    tfds.builder("darkrank_sets/cub200", **folder).download_and_prepare(download_config=config)
    assert len(load_set("cub200", tmp_path, "")["test"].labels) == 4


def test_an_interrupted_build_is_not_taken_for_a_whole_one(tmp_path, monkeypatch):
    write(tmp_path, cub200()[0])
    original = tfds_builder.DarkrankSets._generate_examples

    def stop(self, found):
        yield from list(original(self, found))[:1]
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(tfds_builder.DarkrankSets, "_generate_examples", stop)
        with pytest.raises(KeyboardInterrupt):
            load_set("cub200", tmp_path)
    splits = load_set("cub200", tmp_path)
    assert sum(len(split.labels) for split in splits.values()) == 12
