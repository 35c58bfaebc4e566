"""The word for images is the same for the same images, wherever they lie, and for no others."""

import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from darkrank_jax.data import SOURCES, Split
from darkrank_jax.evaluation.image_digests import images_digest, same_digest
from darkrank_jax.evaluation.stored import same_images

LABELS = np.array([0, 2, 0, 1, 2], np.int32)
NAMES = ("b", "\udcff", "<a>")


def in_memory(seed=4, side=3, **changes):
    images = np.random.default_rng(seed).integers(0, 256, (5, side, 2, 1), dtype=np.uint8)
    return images_digest(Split(images, LABELS, NAMES)._replace(**changes))


def test_images_in_memory_are_told_by_classes_queries_and_pixels():
    queries = np.array([True, False, False, True, True])
    words = [
        in_memory(),
        in_memory(seed=5),
        in_memory(labels=LABELS[::-1]),
        in_memory(class_names=("b", "c", "<a>")),
        in_memory(queries=queries),
        in_memory(queries=~queries),
    ]
    for index, word in enumerate(words):
        assert [bool(same_digest(word, other)) for other in words] == [
            other == index for other in range(len(words))
        ]
    # Classes count by their names, whatever their numbers are.
    order = np.array([2, 0, 1])
    renamed = in_memory(labels=order[LABELS], class_names=tuple(NAMES[i] for i in (1, 2, 0)))
    assert renamed == words[0]


def test_at_another_size_pixels_say_nothing_and_classes_do():
    assert same_digest(in_memory(), in_memory(side=6))
    assert not same_digest(in_memory(), in_memory(side=6, labels=LABELS[::-1]))


def test_of_what_is_not_known_nothing_is_said():
    assert same_digest(None, in_memory()) is same_digest(in_memory(), None) is None


@pytest.mark.parametrize("options", [{"seed": 1}, {"distortion": 0.5}], ids=str)
def test_other_characters_or_other_drawings_are_other_images(options):
    given = {"num_classes": 20, "images_per_class": 4}
    first = SOURCES["glyphs"](path="", image_size=16, **given)["test"]
    second = SOURCES["glyphs"](path="", image_size=16, **given, **options)["test"]
    assert same_images(first.labels, second.labels)
    assert same_digest(images_digest(first), images_digest(second)) is False


def draw(folder, seed=0):
    """Seven classes of two pictures each."""
    rng = np.random.default_rng(seed)
    for number in range(7):
        (folder / f"class {number}").mkdir(parents=True)
        for name in ("x.png", "y.png"):
            pixels = rng.integers(0, 256, (12, 14, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"class {number}" / name)
    return folder


def of_files(path, **options):
    given = {"num_train_classes": 5, "validation_fraction": 0.4}
    split = SOURCES["images"](path=str(path), image_size=8, **(given | options))["test"]
    return images_digest(split)


def test_files_are_the_same_wherever_they_lie_and_whatever_the_network_sees(tmp_path):
    word = of_files(draw(tmp_path / "a"))
    moved = shutil.copytree(tmp_path / "a", tmp_path / "elsewhere" / "b")
    archive = tmp_path / "c.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for file in sorted(moved.rglob("*.png")):
            zipped.write(file, f"above/{file.relative_to(moved)}")
    for same in (of_files(moved), of_files(archive), of_files(moved, grayscale=True)):
        assert same == word
    assert same_digest(word, of_files(draw(tmp_path / "d", seed=1))) is False
    assert same_digest(word, of_files(moved, num_train_classes=4)) is False
    (moved / "class 6" / "y.png").rename(moved / "class 6" / "z.png")
    assert same_digest(word, of_files(moved)) is False
