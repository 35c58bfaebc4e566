"""Tables of images: the right value, or an error that names file, row and reason."""

import contextlib
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from darkrank_jax.data import batches
from darkrank_jax.data.files.parquet_tables import read_parquet
from darkrank_jax.data.files.text_tables import read_text
from darkrank_jax.errors import UserError
from tests.data.image_files import CLASSES, SMALL, WHOLE, layout, load, refusal, write_folder
from tests.data.table_files import lines, parquet, written

pytestmark = pytest.mark.usefixtures("cache")


@pytest.mark.parametrize("suffix", [".xlsx", ".json", ".txt", ".feather"])
def test_a_table_of_another_kind_is_refused(suffix, tmp_path, capsys):
    path = written(tmp_path / f"t{suffix}", "path,label\n")
    assert refusal(capsys, path) == (
        f"{path}: {suffix} tables are not read; save it as .csv, .tsv or .parquet"
    )


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_a_table_cut_or_garbled_anywhere_is_read_or_refused(suffix, tmp_path):
    rng = np.random.default_rng(5)
    separator = {".csv": ",", ".tsv": "\t"}.get(suffix)
    path = tmp_path / f"t{suffix}"
    rows = [
        ("path", "label", "split", "camera"),
        ("é.png", "x", "train", "1"),
        ("b", "y", "test", ""),
    ]
    if separator:
        written(path, "\n".join(separator.join(row) for row in rows))
    else:
        columns = zip(*rows, strict=True)
        parquet(path, **{name: list(values) for name, *values in columns})
    data = path.read_bytes()
    for trial in range(60):
        changed = bytearray(data)
        if trial % 2:
            changed[rng.integers(len(data))] = rng.integers(256)
        else:
            del changed[rng.integers(len(data)) :]
        with contextlib.suppress(UserError):
            lines(written(path, bytes(changed)))


def test_one_image_with_two_labels_is_refused_with_its_rows(tmp_path, capsys):
    path = write_folder(tmp_path, SMALL) / "t.csv"
    rows = [f"{name},{name.split('/')[0]}" for name in SMALL]
    text = "\n".join(["path,label", *rows[:3], "", *rows[3:], "./class 2//0.png,class 5"])
    assert refusal(capsys, written(path, text)) == (
        f"{path}: row 18: class 2/0.png has the label 'class 5', but 'class 2' in row 3; keep the "
        "right one"
    )


def test_what_a_table_names_is_opened_only_if_it_is_a_file(tmp_path, caplog):
    path = write_folder(tmp_path, SMALL) / "t.csv"
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("/dev/zero")
    names = [*SMALL, "pipe.png", "link.png", "/dev/zero", "class 1"]
    text = "path,label\n" + "".join(f"{name},{number // 2}\n" for number, name in enumerate(names))
    splits = load(written(path, text))
    assert sum(len(split.labels) for split in splits.values()) == 16
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: 4 rows name folders, pipes, sockets or devices and are left out; first pipe.png"
    ]


def test_backslashes_in_a_table_are_folders(tmp_path):
    path = write_folder(tmp_path, SMALL | {"class 1/a\\b.png": WHOLE["class 9/0.png"]}) / "t.csv"
    names = [name.replace("/", "\\") for name in SMALL]
    rows = [f"{name},{name[:7]}" for name in [*names, "class 1/a\\b.png"]]
    splits = load(written(path, "\n".join(["path,label", *rows])))
    found = {name for split in splits.values() for name in split.names}
    assert found == {*SMALL, "class 1/a\\b.png"}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_split_column_in_any_spelling_gives_its_splits(suffix, tmp_path):
    path = write_folder(tmp_path, SMALL) / f"t{suffix}"
    words = ["Training"] * 8 + ["VAL"] * 4 + ["testing"] * 4
    if suffix == ".csv":
        rows = [f"{n},{n[:7]},{word}" for n, word in zip(SMALL, words, strict=True)]
        written(path, "\n".join(["path,label,SPLIT", *rows]))
    else:
        parquet(path, path=[*SMALL], label=[n[:7] for n in SMALL], Split=words)
    splits = load(path)
    assert splits["train"].class_names == tuple(CLASSES[:4])
    assert splits["validation"].class_names == tuple(CLASSES[4:6])
    assert splits["test"].class_names == tuple(CLASSES[6:8])


def test_readers_give_columns_and_then_rows(tmp_path):
    path = written(tmp_path / "t.csv", "a,b\n1, 2 \n\n")
    assert list(read_text(path, ",")) == [["a", "b"], ["1", "2"], []]
    path = parquet(tmp_path / "t.parquet", a=[1, 2], b=["x", None])
    assert list(read_parquet(path, lambda names, plain: names[::-1])) == [
        ["b", "a"],
        ["x", "1"],
        ["", "2"],
    ]


def traced():
    """Bytes of Python's table of parts of paths, which changes as it likes, and all others."""
    sizes = {True: 0, False: 0}
    for found in tracemalloc.take_snapshot().statistics("filename"):
        sizes[Path(found.traceback[0].filename).name == "pathlib.py"] += found.size
    return sizes[True], sizes[False]


def of_data():
    """Bytes that code below darkrank_jax/data asked for, itself or through others."""
    below = tracemalloc.Filter(True, "*/darkrank_jax/data/*", all_frames=True)
    found = tracemalloc.take_snapshot().filter_traces([below]).statistics("filename")
    return sum(each.size for each in found)


@pytest.mark.parametrize(
    "thousands", [5, pytest.param(1000, marks=pytest.mark.slow)], ids=["small", "million"]
)
@pytest.mark.slow
def test_a_large_table_takes_the_memory_of_its_names(thousands, tmp_path):
    """Simulated: up to a million rows that name the same few files."""
    names = list(write_folder(tmp_path, layout()).glob("*/*.png"))
    path = tmp_path / "table.csv"
    classes = {f"{number}": f"{names[0].parent.name}/{number}x.png" for number in range(1000)}
    for number, name in enumerate(classes.values()):
        os.link(names[number % 40], tmp_path / name)
    rows = [f"{name},{label}\n" for label, name in classes.items()]
    with path.open("w") as file:
        file.write("path,label\n")
        for _ in range(thousands):
            file.writelines(rows)
    tracemalloc.start()
    try:
        splits = load(path, inspect_images=False, cache_mib=0)
        peak = tracemalloc.get_traced_memory()[1]
        interned, kept = traced()
        assert sum(len(split.labels) for split in splits.values()) == 1000 * thousands
        # A name of 13 bytes, its end, labels, parts and rows; nothing for each image beside.
        assert kept < 60 * 1000 * thousands + 1e6
        assert peak - interned < 150 * 1000 * thousands + 1e6
        split, sizes = splits["train"], []
        tracemalloc.stop()
        tracemalloc.start(12)  # enough frames to see who asked
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
            sizes.append(of_data())
        # One of Python's own tables may double once; a leak grows between every two streams.
        assert min(sizes[1] - sizes[0], sizes[2] - sizes[1]) < 5e4
    finally:
        tracemalloc.stop()
