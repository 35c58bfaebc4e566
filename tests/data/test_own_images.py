"""A user's own images in every form, and everything that can be wrong with them."""

import errno
import io
import logging
import os
import sys
import tarfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from darkrank_jax import main as command_line
from darkrank_jax.data import SOURCES, batches, fingerprint
from darkrank_jax.data.resampling import cut
from darkrank_jax.errors import UserError

own_images = SOURCES["images"]
CONFIG = f"--config={Path(__file__).parents[1] / 'tiny_images_config.py'}"
CLASSES = [f"class {number}" for number in range(1, 11)]


def drawn(seed, size=(20, 24)):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8))


def encoded(picture, kind="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def layout(classes=CLASSES, each=4, prefix=""):
    """Name -> bytes of some images of each class."""
    return {
        f"{prefix}{label}/{number}.png": encoded(
            drawn(zlib.crc32(f"{prefix} {label} {number}".encode("utf-8", "surrogateescape")))
        )
        for label in classes
        for number in range(each)
    }


def write_folder(path, files):
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def write_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_tar(path, files, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("DARKRANK_CACHE", str(folder))
    return folder


def load(path, **options):
    return own_images(path=str(path), image_size=16, **options)


def contents(splits):
    """Class -> its images in order, by split."""
    return {
        name: {
            label: split.images[split.labels == number].tobytes()
            for number, label in enumerate(split.class_names)
        }
        for name, split in splits.items()
    }


WRITERS = {
    "folder": lambda path, files: write_folder(path / "images", files),
    "zip": lambda path, files: write_zip(path / "images.zip", files),
    "tar": lambda path, files: write_tar(path / "images.tar", files),
    "tar.gz": lambda path, files: write_tar(path / "images.tar.gz", files, "w:gz"),
    "tgz": lambda path, files: write_tar(path / "images.tgz", files, "w:gz"),
    "tar.bz2": lambda path, files: write_tar(path / "images.tar.bz2", files, "w:bz2"),
    "tar.xz": lambda path, files: write_tar(path / "images.tar.xz", files, "w:xz"),
}


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


ROWS = [
    (f"{label}/{number}.png", label, part, f"c{number}")
    for part, labels in (("train", CLASSES[:5]), ("query", CLASSES[5:]), ("gallery", CLASSES[5:]))
    for label in labels
    for number in (range(1) if part == "query" else range(1, 4))
]


def write_table(folder, suffix, columns=("path", "label", "split", "camera"), rows=ROWS):
    write_folder(folder, layout())
    path = folder / f"table{suffix}"
    if suffix == ".parquet":
        arrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        values = dict(zip(columns, zip(*rows, strict=True), strict=False))
        parquet.write_table(arrow.table({key: list(each) for key, each in values.items()}), path)
    else:
        separator = {".csv": ",", ".tsv": "\t"}[suffix]
        lines = [separator.join(row[: len(columns)]) for row in [columns, *rows]]
        path.write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


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
    assert "caf\ufffd" in names
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


def refusal(capsys, path, *arguments):
    """The one line of a refused command."""
    arguments = [f"--config.data.path={path}", "--mode=prepare", *arguments]
    assert command_line.main(["main", CONFIG, *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line.removeprefix("error: ")


@pytest.mark.parametrize("mode", ["prepare", "train"])
def test_a_warning_has_the_same_words_in_every_mode(mode, tmp_path, capsys, monkeypatch):
    path = write_folder(tmp_path / "images", layout() | {"class 3/notes.txt": b""})
    ours = logging.getLogger("darkrank_jax")
    monkeypatch.setattr(ours, "handlers", [])
    monkeypatch.setattr(ours, "propagate", True)
    # What else the command sets for its whole process stays as it is here.
    monkeypatch.setattr(command_line.absl_logging, "set_verbosity", lambda level: None)
    monkeypatch.setattr(logging.getLogger("orbax"), "setLevel", lambda level: None)
    monkeypatch.setattr(sys, "path", [*sys.path])
    codes = []
    monkeypatch.setattr(command_line, "leave", codes.append)
    # More classes than there are, so that nothing is trained.
    flags = [f"--config.data.path={path}", f"--mode={mode}", "--config.data.batch_size=400"]
    monkeypatch.setattr(sys, "argv", ["darkrank", CONFIG, f"--workdir={tmp_path / 'run'}", *flags])
    command_line.console()
    said = capsys.readouterr()
    lines = (said.out if mode == "prepare" else said.err).splitlines()
    assert f"{path}: 1 files are no images and left out; first class 3/notes.txt" in lines
    assert codes == [0 if mode == "prepare" else 2]


WHOLE = layout()
BROKEN = {
    "unreadable": (b"no image", "is no image of a known kind; delete it or save it anew"),
    "zero-sized": (b"", "is empty; delete it or put the image there again"),
    "truncated": (WHOLE["class 2/1.png"][:-40], "cannot be decoded ("),
    "float": (
        encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"),
        "cannot be decoded (its pixels are floats",
    ),
    "absurd": (encoded(Image.new("1", (20000, 20000))), "cannot be decoded (Image size"),
    "same file": (WHOLE["class 7/3.png"], "is the same file as {path}/class 7/3.png, of class "),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("form", ["folder", "zip", "tar"])
def test_an_unusable_image_is_named(kind, form, tmp_path, capsys):
    data, reason = BROKEN[kind]
    path = WRITERS[form](tmp_path, WHOLE | {"class 2/1.png": data})
    line = refusal(capsys, path)
    assert line.startswith(f"{path}/class 2/1.png: {reason.format(path=path)}")
    count = 2 if kind == "same file" else 1
    assert f"({count} of 40 images are unusable, all listed in " in line
    assert line.endswith("; data.options.tolerated leaves out that share)")


def test_unusable_images_are_left_out_up_to_a_share(tmp_path, caplog, cache):
    spoilt = {"class 2/1.png": b"x", "class 3/0.png": b"", "class 3/2.png": WHOLE["class 3/1.png"]}
    path = write_folder(tmp_path, WHOLE | spoilt | {"class 3/notes.txt": b"", ".DS_Store": b""})
    with caplog.at_level(logging.WARNING):
        splits = load(path, tolerated=0.05)
    assert sum(len(split.labels) for split in splits.values()) == 37
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    assert said[0] == f"{path}: 1 files are no images and left out; first class 3/notes.txt"
    assert said[1].startswith("2 of 40 images are left out, all listed in ")
    assert f"first {path}/class 2/1.png: is no image" in said[1]
    assert "1 of 40 images are copies and left out" in said[2]
    assert f"first {path}/class 3/2.png: is the same file as {path}/class 3/1.png" in said[2]
    (found,) = (cache / "inspections").iterdir()
    assert str(found) in said[1]
    assert "class 3/0.png" in found.read_text()


def test_images_are_looked_at_once_and_again_when_they_change(tmp_path, monkeypatch, caplog):
    from darkrank_jax.data import inspection

    path, looked = write_folder(tmp_path, WHOLE), []
    original = inspection.decode

    def decode(file, name, **options):
        looked.append(name)
        return original(file, name, **options)

    monkeypatch.setattr(inspection, "decode", decode)
    load(path)
    assert len(looked) == 40
    load(path, seed=1)
    assert len(looked) == 40
    (path / "class 2/1.png").write_bytes(b"broken since")
    with pytest.raises(UserError, match=r"class 2/1\.png: is no image"):
        load(path)
    load(path, inspect_images=False)
    assert len(looked) == 80


def test_a_listed_image_that_was_saved_anew_is_looked_at_again(tmp_path):
    table = write_table(tmp_path, ".csv", columns=("path", "label"))
    whole = load(table)
    image = tmp_path / "class 2/1.png"
    image.write_bytes(b"broken since")
    for _ in range(2):
        with pytest.raises(UserError, match=r"class 2/1\.png: is no image"):
            load(table)
    image.unlink()
    with pytest.raises(UserError, match=r"class 2/1\.png: cannot be read \(No such file"):
        load(table)
    image.write_bytes(encoded(drawn(77)))
    anew = load(table)
    for use, split in anew.items():
        # A file that is another is other images, for whatever was stored of them.
        assert fingerprint(split.images) != fingerprint(whole[use].images)
        assert fingerprint(split.images) == fingerprint(load(table)[use].images)


@pytest.mark.parametrize("fault", [errno.EIO, errno.EACCES])
def test_a_file_that_could_not_be_read_is_not_taken_for_broken(fault, tmp_path, monkeypatch):
    path, read = write_folder(tmp_path, WHOLE), Path.read_bytes

    def failing(file):
        if file.match("class 2/1.png"):
            raise OSError(fault, os.strerror(fault))
        return read(file)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", failing)
        line = rf"class 2/1\.png: cannot be read \({os.strerror(fault)}\).* \(1 of 40 images are un"
        with pytest.raises(UserError, match=line):
            load(path)
        left = load(path, tolerated=0.05)
    assert sum(len(split.labels) for split in left.values()) == 39
    assert sum(len(split.labels) for split in load(path).values()) == 40


def test_a_tar_that_could_not_be_read_is_not_taken_for_broken(tmp_path, monkeypatch):
    path = WRITERS["tar"](tmp_path, WHOLE)
    original, opened = Path.open, []

    def failing(file, *arguments, **options):
        opened.append(file)
        # Listing opens it twice.
        if file == path and len(opened) > 2:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
        return original(file, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", failing)
        with pytest.raises(UserError, match=r"images\.tar: is no whole archive \(.*No such file"):
            load(path)
        assert len(opened) > 40
    assert sum(len(split.labels) for split in load(path).values()) == 40


def test_an_inspection_that_is_cut_off_is_not_taken_for_a_whole_one(tmp_path, monkeypatch, cache):
    from darkrank_jax.data import inspection

    path = write_folder(tmp_path, WHOLE)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(inspection.json, "dumps", stop)
        with pytest.raises(KeyboardInterrupt):
            load(path)
    assert not list((cache / "inspections").iterdir())
    load(path)


@pytest.mark.parametrize(
    ("option", "value", "valid"),
    [
        ("seed", -1, "at least 0"),
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
    assert str(error.value) == f"data.options.{option}: is {value}; give {valid}"


def test_a_class_of_one_image_is_told_and_only_trained_on(tmp_path, caplog):
    files = layout(CLASSES[:5]) | layout(["alone", "also alone"], each=1)
    with caplog.at_level(logging.WARNING):
        for seed in range(8):
            assert {"alone", "also alone"} <= set(
                load(write_folder(tmp_path, files), seed=seed)["train"].class_names
            )
    assert caplog.records[0].getMessage().startswith("2 classes have one image, which has no")
    assert "'alone'" in caplog.records[0].getMessage()


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
    assert said.startswith(f"{path}: entry 'class 1/link.png' is a link or no plain file; unpack")


def test_links_in_a_zip(tmp_path, capsys):
    path = write_zip(tmp_path / "images.zip", WHOLE)
    with zipfile.ZipFile(path, "a") as archive:
        entry = zipfile.ZipInfo("class 1/link.png")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    assert "entry 'class 1/link.png' is a link or no plain file" in refusal(capsys, path)


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
    assert "copy or fetch it again" in said or "unusable" in said or "save it anew" in said
    assert not list(cache.glob("archives/*"))


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
            "class 'class 6' is in train and in test; keep it in one of them, or give no splits",
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
    assert refusal(capsys, "").startswith("data.path: is empty; give a folder of class folders")
    assert refusal(capsys, tmp_path / "no").startswith(f"{tmp_path / 'no'}: is missing; give ")
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
        ("", "{path}: has no column 'path'; its columns are none; rename one of them"),
        ("path,label\na.png,\n", "{path}: row 1 has no label; fill it in or delete the row"),
        ("path,label\na.png,x\nb.png\n", "{path}: row 2 has no label; fill it in or delete"),
        (
            "path,label,split\na.png,x,trian\n",
            "a.png: unknown split 'trian'; did you mean 'train'?",
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
    assert refusal(capsys, path).startswith(f"{path}: is no UTF-8 text (")
    path = tmp_path / "table.parquet"
    path.write_bytes(b"PAR1 and more")
    assert refusal(capsys, path).startswith(f"{path}: is no whole Parquet file (")
    assert refusal(capsys, tmp_path / "no.csv") == (
        f"{tmp_path / 'no.csv'}: is missing; give the table as data.path"
    )


def test_a_cache_that_cannot_be_written(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DARKRANK_CACHE", str(tmp_path / "file"))
    said = refusal(capsys, write_folder(tmp_path / "images", WHOLE))
    assert said.startswith(f"{tmp_path / 'file'}: cannot be written (")
    assert "DARKRANK_CACHE" in said


def test_prepare_prints_what_it_found(tmp_path, capsys):
    files = layout(CLASSES[:7]) | layout(["big"], 9) | {"big/copy.png": WHOLE["class 1/0.png"]}
    path = write_folder(tmp_path, files)
    arguments = [f"--config.data.path={path}", "--mode=prepare", f"--workdir={tmp_path / 'w'}"]
    options = "--config.data.options.tolerated=0.06"
    assert command_line.main(["main", CONFIG, *arguments, options]) == 0
    said = capsys.readouterr().out
    assert f"images {path}" in said
    assert "2 of 38 images are left out, all listed in " in said
    lines = [line.split("  ") for line in said.splitlines()]
    heads = [cell.strip() for cell in next(line for line in lines if line[0] == "split") if cell]
    assert heads == ["split", "images", "classes", "smallest class", "largest class"]
    assert [line[0].strip() for line in lines[-3:]] == ["train", "validation", "test"]
    assert "big (9)" in said
    assert "class 1 (3)" in said
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    "thousands", [20, pytest.param(1000, marks=pytest.mark.slow)], ids=["small", "million"]
)
def test_a_large_table_takes_the_memory_of_its_names(thousands, tmp_path):
    """Simulated: up to a million rows that name the same few files."""
    names = list(write_folder(tmp_path, layout()).glob("*/*.png"))
    path = tmp_path / "table.csv"
    classes = {f"{number}": names[number % 40].relative_to(tmp_path) for number in range(1000)}
    rows = [f"{name},{label}\n" for label, name in classes.items()]
    with path.open("w") as file:
        file.write("path,label\n")
        for _ in range(thousands):
            file.writelines(rows)
    tracemalloc.start()
    try:
        splits = load(path, inspect_images=False, cache_mib=0)
        kept, peak = tracemalloc.get_traced_memory()
        assert sum(len(split.labels) for split in splits.values()) == 1000 * thousands
        # A name of 13 bytes, its end, labels, parts and rows; nothing for each image beside.
        assert kept < 60 * 1000 * thousands + 1e6
        assert peak < 150 * 1000 * thousands + 1e6
        split, sizes = splits["train"], []
        for step in (0, 200, 400):
            stream = batches(
                split,
                seed=0,
                first_step=step,
                num_steps=3,
                batch_size=16,
                images_per_class=2,
                augmentation={"random_resized_crop": {}},
                num_threads=1,
            )
            assert sum(len(batch["labels"]) for batch in stream) == 48
            sizes.append(tracemalloc.get_traced_memory()[0])
        assert sizes[2] - sizes[0] < 1e5
    finally:
        tracemalloc.stop()


CARS = Path(os.environ.get("DARKRANK_DATA", "")) / "cars196_half/cars196_half_96px.zip"


@pytest.mark.skipif(not CARS.is_file(), reason="DARKRANK_DATA holds no cars196_half")
def test_the_half_of_cars196(caplog):
    splits = load(CARS, num_train_classes=98, inspect_images=False)
    assert splits["test"].class_names == tuple(f"{number:03d}" for number in range(99, 197))
    assert sum(len(split.labels) for split in splits.values()) == 8144
    assert splits["train"].images[:64].std() > 20
