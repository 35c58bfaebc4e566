"""A user's own images in every form, and what is refused of them."""

import io
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from darkrank_jax.data import batches
from darkrank_jax.data.pixels.resampling import cut
from darkrank_jax.errors import UserError
from tests.data.image_files import (
    CLASSES,
    WHOLE,
    WRITERS,
    contents,
    drawn,
    encoded,
    layout,
    load,
    refusal,
    write_folder,
    write_table,
    write_zip,
)
from tests.marks import slow_but

pytestmark = pytest.mark.usefixtures("cache")


@pytest.mark.parametrize(
    "kind", slow_but({"zip", "table"}, ["folder", "zip", "tar", "tgz", "table"])
)
def test_workers_read_any_form(kind, tmp_path):
    writers = WRITERS | {"table": lambda path, files: write_table(path, ".csv")}
    train = load(writers[kind](tmp_path, layout()))["train"]
    arguments = {"seed": 2, "first_step": 0, "num_steps": 3, "batch_size": 6, "num_threads": 1}
    arguments |= {"images_per_class": 2, "augmentation": {"random_resized_crop": {}}}
    by_threads = list(batches(train, **arguments))
    by_workers = list(batches(train, num_workers=2, **arguments))
    assert len(by_threads) == len(by_workers) == 3
    for one, other in zip(by_threads, by_workers, strict=True):
        np.testing.assert_array_equal(one["images"], other["images"])
        np.testing.assert_array_equal(one["labels"], other["labels"])


def test_workers_refuse_a_zip_that_was_replaced(tmp_path):
    path = write_zip(tmp_path / "images.zip", layout())
    train = load(path)["train"]
    write_zip(path, layout(prefix="other/"))
    arguments = {"seed": 2, "first_step": 0, "num_steps": 3, "batch_size": 6, "num_threads": 1}
    with pytest.raises(UserError) as error:
        next(batches(train, num_workers=1, images_per_class=2, augmentation={}, **arguments))
    assert str(error.value) == f"{path}: has changed since it was listed; give the command again"


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("prefix", ["", "deep/below/"])
def test_the_same_images_in_any_form(kind, prefix, tmp_path):
    files = layout()
    splits = load(WRITERS[kind](tmp_path, {prefix + name: data for name, data in files.items()}))
    assert [len(splits[name].class_names) for name in splits] == [6, 2, 2]
    assert set().union(*(split.class_names for split in splits.values())) == set(CLASSES)
    for split in splits.values():
        assert split.images.shape == (4 * len(split.class_names), 16, 16, 3)
        assert [name.removeprefix(prefix) for name in split.names] == [
            f"{split.class_names[label]}/{row % 4}.png" for row, label in enumerate(split.labels)
        ]
        for row, label in enumerate(split.labels):
            name = f"{split.class_names[label]}/{row % 4}.png"
            pixels = np.asarray(Image.open(io.BytesIO(files[name])))
            expected = cut(pixels, (2, 0, 22, 20), (16, 16))
            np.testing.assert_array_equal(split.images[row], expected)


def test_splits_follow_from_the_seed(tmp_path):
    path = write_folder(tmp_path, layout())
    one, same, other = (contents(load(path, seed=seed)) for seed in (3, 3, 4))
    assert one == same
    assert {n: set(s) for n, s in one.items()} != {n: set(s) for n, s in other.items()}


def test_the_first_classes_train_in_natural_order(tmp_path):
    splits = load(write_folder(tmp_path, layout()), num_train_classes=8)
    assert splits["test"].class_names == ("class 9", "class 10")
    assert len(splits["train"].class_names) == 6
    assert len(splits["validation"].class_names) == 2


def test_folders_may_be_the_splits(tmp_path):
    files = layout(CLASSES[:4], prefix="Train/") | layout(CLASSES[4:6], prefix="val/")
    splits = load(write_folder(tmp_path, files | layout(CLASSES[6:], prefix="TEST/")))
    assert splits["train"].class_names == tuple(CLASSES[:4])
    assert splits["validation"].class_names == tuple(CLASSES[4:6])
    assert splits["test"].class_names == tuple(CLASSES[6:])
    assert splits["test"].queries is None


def test_folders_of_queries_and_gallery(tmp_path):
    files = layout(CLASSES[:5], prefix="x/train/") | layout(CLASSES[5:], 1, prefix="x/query/")
    splits = load(write_zip(tmp_path / "x.zip", files | layout(CLASSES[5:], prefix="x/gallery/")))
    test = splits["test"]
    assert len(splits["validation"].class_names) == 2
    assert test.class_names == tuple(CLASSES[5:])
    assert (np.bincount(test.labels[test.queries]) == 1).all()
    assert (np.bincount(test.labels[~test.queries]) == 4).all()


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_tables(suffix, tmp_path):
    splits = load(write_table(tmp_path, suffix))
    train, test = splits["train"], splits["test"]
    assert len(train.class_names) == 3
    assert test.class_names == tuple(CLASSES[5:])
    assert test.queries.sum() == 5
    assert (test.cameras[test.queries] == test.cameras[test.queries][0]).all()
    assert len(np.unique(test.cameras)) == 4
    first = np.asarray(Image.open(tmp_path / "class 6/0.png"))
    image = load(tmp_path / f"table{suffix}", center_crop=0.0)["test"].images[0]
    np.testing.assert_array_equal(image, cut(first, (0, 0, *first.shape[1::-1]), (16, 16)))


def test_a_table_of_paths_and_labels_is_split_by_class(tmp_path):
    splits = load(write_table(tmp_path, ".csv", columns=("path", "label")))
    assert [len(split.class_names) for split in splits.values()] == [6, 2, 2]
    assert splits["test"].cameras is None


def test_names_of_any_language(tmp_path):
    labels = ["猫", "собака", "e\u0301léphant", "حصان", "🦊 fox", "a & b <c>"]
    for write in WRITERS.values():
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        splits = load(write(folder, layout(labels)))
        names = set().union(*(split.class_names for split in splits.values()))
        assert names == {"猫", "собака", "éléphant", "حصان", "🦊 fox", "a & b <c>"}


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX alone")
def test_names_that_no_encoding_has(tmp_path):
    broken = layout([*CLASSES[:5], "caf\udce9"])
    try:
        splits = load(write_folder(tmp_path, broken))
    except OSError:
        pytest.skip("this file system has names of UTF-8 alone")
    names = [name for split in splits.values() for name in split.class_names]
    assert "caf\\xe9" in names
    "".join(names).encode()


def test_links_in_a_folder_are_followed_once(tmp_path):
    path = write_folder(tmp_path / "images", layout(CLASSES[:8]))
    elsewhere = write_folder(tmp_path / "elsewhere", layout(["x"]))
    (path / "class 9").symlink_to(elsewhere / "x")
    (path / "class 10").symlink_to(path, target_is_directory=True)
    names = set().union(*(split.class_names for split in load(path).values()))
    assert names == set(CLASSES[:9])


def test_every_kind_of_image_trains(tmp_path):
    """Formats, depths, colour spaces, orientation and animation, cut and augmented."""
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 109)
    kinds = {
        "deep.png": encoded(deep),
        "cmyk.jpg": encoded(drawn(1).convert("CMYK"), "JPEG"),
        "palette.gif": encoded(drawn(2).quantize(16), "GIF"),
        "alpha.png": encoded(drawn(3).convert("RGBA")),
        "turned.jpg": encoded(drawn(4, (30, 20)), "JPEG", exif=exif),
        "animated.webp": encoded(drawn(5), "WEBP", save_all=True, append_images=[drawn(6)]),
        "bits.bmp": encoded(drawn(7).convert("1"), "BMP"),
        "gray.tiff": encoded(drawn(8).convert("L"), "TIFF"),
        "thin.png": encoded(drawn(9, (1, 40))),
        "dot.png": encoded(drawn(10, (1, 1))),
    }
    files = layout(CLASSES[:6]) | {f"odd/{name}": data for name, data in kinds.items()}
    for grayscale in (False, True):
        splits = load(write_folder(tmp_path, files), num_train_classes=0, grayscale=grayscale)
        images = [image for split in splits.values() for image in split.images[:]]
        assert len(images) == 34
        assert {image.shape for image in images} == {(16, 16, 1 if grayscale else 3)}
        stream = batches(
            splits["train"],
            seed=0,
            first_step=0,
            num_steps=4,
            batch_size=6,
            images_per_class=2,
            augmentation={"random_resized_crop": {"area": (0.1, 1.0)}, "random_erasing": {}},
            num_threads=2,
        )
        assert [batch["images"].shape for batch in stream] == [(6, *images[0].shape)] * 4


@pytest.mark.parametrize(
    ("option", "value", "valid"),
    [
        ("seed", -1, "0 to 4294967295"),
        ("cache_mib", -1, "at least 0"),
        ("num_train_classes", -3, "at least 0"),
        ("tolerated", -0.1, "0 to 1"),
        ("tolerated", float("nan"), "0 to 1"),
        ("center_crop", 2.0, "0 to 1"),
        ("test_fraction", float("nan"), "0 to 1"),
        ("validation_fraction", -1.0, "0 to 1"),
    ],
)
def test_numbers_out_of_range_are_refused(option, value, valid, tmp_path):
    """Before any image is looked at, which may take long."""
    with pytest.raises(UserError) as error:
        load(tmp_path / "not even there", **{option: value})
    assert str(error.value) == f"data.options.{option}: must be {valid} (got {value})"


def test_a_class_of_one_image_is_told_and_only_trained_on(tmp_path, caplog):
    files = layout(CLASSES[:5]) | layout(["alone", "also alone"], each=1)
    with caplog.at_level(logging.WARNING):
        for seed in range(8):
            assert {"alone", "also alone"} <= set(
                load(write_folder(tmp_path, files), seed=seed)["train"].class_names
            )
    assert caplog.records[0].getMessage().startswith("2 classes have one image, which has no")
    assert "'alone'" in caplog.records[0].getMessage()


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ({}, "{path}: holds no image among 0 files; images end in .jpg, "),
        ({"a/1.txt": b"x"}, "{path}: holds no image among 1 files; images end in .jpg, "),
        (
            layout(["a"]),
            "{path}: holds images of one class alone (a); put each class in a folder of its own",
        ),
        (WHOLE | {"1.png": b"x"}, "{path}: 1.png lies in no class folder; move it into one"),
        (
            layout(CLASSES[:3]),
            "data.path: of 3 classes 0 to train, 1 to validation, 2 to test; each needs 2, ",
        ),
        (
            layout(CLASSES[:6], prefix="train/") | layout(CLASSES[6:], 1, prefix="test/"),
            "data.path: of 10 classes 4 to train, 2 to validation, 0 to test; each needs 2, ",
        ),
        (
            layout(CLASSES[:6], prefix="train/") | layout(CLASSES[5:], prefix="test/"),
            "data.path: 1 of 5 classes of test are also in train, first 'class 6'; what is ",
        ),
        (
            layout(CLASSES[:6], prefix="train/") | layout(CLASSES[6:], prefix="query/"),
            "data.path: has no gallery images; add them, or name the split test",
        ),
    ],
)
def test_folders_that_cannot_be_used(files, line, tmp_path, capsys):
    path = tmp_path / "images"
    path.mkdir()
    assert refusal(capsys, write_folder(path, files)).startswith(line.format(path=path))


def test_what_is_no_source(tmp_path, capsys):
    assert refusal(capsys, "").startswith(
        "data.path: must not be empty; give a folder of class folders"
    )
    assert refusal(capsys, tmp_path / "no").startswith(f"{tmp_path / 'no'}: must exist; give ")
    other = tmp_path / "images.rar"
    other.write_bytes(b"Rar!")
    assert refusal(capsys, other) == (
        f"{other}: is no folder, .zip or .tar; unpack it and give the folder"
    )


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_a_table_without_a_column(suffix, tmp_path, capsys):
    path = write_table(tmp_path, suffix, columns=("path", "class"))
    assert refusal(capsys, path) == (
        f"{path}: has no column 'label'; its columns are path, class; rename one of them"
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("path,label\n", "{path}: has no rows; give a table with a row for each image"),
        ("", "{path}: must not be empty; give a table with the columns path and label"),
        ("path,label\na.png,\n", "{path}: row 1 has no label; fill it in or delete the row"),
        ("path,label\na.png,x\nb.png\n", "{path}: row 2 (line 3) must have 2 values, as "),
        (
            "path,label,split\na.png,x,trian\n",
            "{path}: row 1: unknown split 'trian'; did you mean 'train'?",
        ),
        (
            "path,label\nno.png,x\nnone.png,y\n",
            "{folder}/no.png: cannot be read (No such file or directory); put it there again or ",
        ),
    ],
)
def test_tables_that_cannot_be_used(text, line, tmp_path, capsys):
    path = tmp_path / "table.csv"
    path.write_text(text)
    assert refusal(capsys, path).startswith(line.format(path=path, folder=tmp_path))


def test_tables_that_are_no_text_or_parquet(tmp_path, capsys):
    path = tmp_path / "table.csv"
    path.write_bytes("path,label\né.png,a".encode("latin-1"))
    assert refusal(capsys, path) == (
        f"{path}: row 1 (line 2) must be UTF-8 (got byte 0xe9); save the table as UTF-8"
    )
    path = tmp_path / "table.parquet"
    path.write_bytes(b"PAR1 and more")
    assert refusal(capsys, path).startswith(f"{path}: is no whole Parquet file (")
    assert refusal(capsys, tmp_path / "no.csv") == (
        f"{tmp_path / 'no.csv'}: must exist; give the table as data.path"
    )


def test_a_cache_that_cannot_be_written(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DARKRANK_CACHE", str(tmp_path / "file"))
    said = refusal(capsys, write_folder(tmp_path / "images", WHOLE))
    assert said.startswith(f"{tmp_path / 'file'}: cannot be written (")
    assert "DARKRANK_CACHE" in said


CARS = Path(os.environ.get("DARKRANK_DATA", "")) / "cars196_half/cars196_half_96px.zip"


@pytest.mark.skipif(not CARS.is_file(), reason="DARKRANK_DATA holds no cars196_half")
def test_the_half_of_cars196(caplog):
    splits = load(CARS, num_train_classes=98, inspect_images=False)
    assert splits["test"].class_names == tuple(f"{number:03d}" for number in range(99, 197))
    assert sum(len(split.labels) for split in splits.values()) == 8144
    assert splits["train"].images[:64].std() > 20
