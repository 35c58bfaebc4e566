"""The memory of a table of up to a million rows."""

import os
import tracemalloc
from pathlib import Path

import pytest

from darkrank_jax.data import batches
from tests.data.image_files import layout, load, write_folder

pytestmark = pytest.mark.usefixtures("cache")


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
