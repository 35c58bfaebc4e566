"""Workers make what threads make, end with their parent, and say what went wrong."""

import gc
import io
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from darkrank_jax.data import Split, batches, every_view
from darkrank_jax.data.images import Cache, EncodedImages, Files, pack_names
from darkrank_jax.data.loading import workers as workers_
from darkrank_jax.data.loading.shared_memory import SharedMemory
from darkrank_jax.data.loading.workers import made_by_workers
from darkrank_jax.data.pixels.augmentation import AUGMENTATIONS
from darkrank_jax.data.pixels.crops import center_crop
from darkrank_jax.errors import UserError
from tests.marks import slow_but

RNG = np.random.default_rng(0)
LABELS = np.repeat(np.arange(6), 5).astype(np.int32)
SPLIT = Split(RNG.integers(0, 256, (30, 9, 8, 3), np.uint8), LABELS, tuple("abcdef"))
# Of six classes, each one's five others.
NEIGHBORS = np.array([[other for other in range(6) if other != one] for one in range(6)])
AUGMENTATION = {"random_resized_crop": {"area": (0.2, 0.9)}, "horizontal_flip": {}}


def stream(split=SPLIT, num_workers=2, num_steps=9, **changes):
    arguments = {
        "seed": 3,
        "first_step": 2,
        "batch_size": 8,
        "images_per_class": 2,
        "augmentation": AUGMENTATION,
        "num_threads": 1,
    } | changes
    return batches(split, num_steps=num_steps, num_workers=num_workers, **arguments)


def read(folder, name):
    with open(os.path.join(folder, "reads"), "a") as reads:
        print(name, file=reads)
    return (Path(folder) / name).read_bytes()


def encoded(folder, most_bytes):
    """The images of the split as PNG files, twice as large as they are to be."""
    names = [f"{row}.png" for row in range(30)]
    for row, name in enumerate(names):
        pixels = np.random.default_rng(row).integers(0, 256, (18, 16, 3), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        (folder / name).write_bytes(buffer.getvalue())
    images = EncodedImages(
        Files(partial(read, str(folder)), pack_names(names), str(folder), "1"),
        np.arange(30),
        size=(9, 8),
        grayscale=False,
        crop=partial(center_crop, size=(9, 8)),
        cache=Cache(most_bytes),
    )
    return SPLIT._replace(images=images)


def assert_equal(found, expected):
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def workers():
    """Processes that this one has started."""
    command = ["pgrep", "-P", str(os.getpid()), "-f", "darkrank_jax.data.loading.workers"]
    return [int(number) for number in subprocess.run(command, capture_output=True).stdout.split()]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"views": 2},
        {"augmentation": {}},
        {"sampler": {"name": "hard_classes", "neighbors": NEIGHBORS, "pool": 4}},
        {"process_index": 1, "num_processes": 2},
        {"num_workers": 3, "first_step": 5, "num_steps": 2},
    ],
)
def test_workers_make_the_batches_of_threads(changes):
    assert_equal(list(stream(**changes)), list(stream(**changes | {"num_workers": 0})))


def test_workers_make_the_views_of_threads():
    arguments = {"views": 2, "batch_size": 8, "augmentation": AUGMENTATION}

    def views(num_workers):
        drawn = every_view(SPLIT, num_threads=1, num_workers=num_workers, **arguments)
        return [{"view": view, "rows": rows, "images": images} for view, rows, images in drawn]

    assert_equal(views(2), views(0))


@pytest.mark.parametrize("most_bytes", slow_but({3000}, [0, 3000, 10**6]))
def test_workers_decode_files_and_keep_pictures_together(most_bytes, tmp_path):
    split = encoded(tmp_path, most_bytes)
    found = list(stream(split, num_steps=40))
    reads = (tmp_path / "reads").read_text().split()
    assert_equal(found, list(stream(split, num_steps=40, num_workers=0)))
    # Each picture has 864 bytes; both may decode the same one at a time, but not often.
    if most_bytes == 10**6:
        assert set(reads) == {f"{row}.png" for row in range(30)}
        assert len(reads) <= 45
    else:
        assert len(reads) > 200


def test_what_is_kept_stays_as_it_is():
    """More batches are kept, or views of them, than workers have places for."""
    expected = list(stream(num_steps=40, num_workers=0))
    found = []
    for number, batch in enumerate(stream(num_steps=40)):
        if number % 3:
            batch["images"] = batch["images"][1:][:, ::-1]
            expected[number]["images"] = expected[number]["images"][1:][:, ::-1]
        found.append(batch)
    gc.collect()
    assert_equal(found, expected)


def test_images_that_were_dropped_are_filled_again():
    """With none kept, all batches lie in the memory that was there at the start."""
    places = set()
    for batch in stream(num_steps=60, num_workers=1):
        places.add(batch["images"].ctypes.data)
        del batch
    assert len(places) <= 2 + 4


def test_closing_ends_the_workers():
    batches_ = stream(num_steps=1000, num_workers=3)
    next(batches_)
    assert len(workers()) == 3
    before = len(os.listdir("/proc/self/fd"))
    batches_.close()
    gc.collect()
    assert not workers()
    assert len(os.listdir("/proc/self/fd")) < before


def test_a_broken_image_is_the_line_that_threads_say(tmp_path):
    split = encoded(tmp_path, 0)
    (tmp_path / "7.png").write_bytes(b"junk")
    lines = []
    for num_workers in (0, 2):
        with pytest.raises(UserError) as refusal:
            list(stream(split, num_steps=40, num_workers=num_workers))
        lines.append(str(refusal.value))
    assert lines[0] == lines[1]
    assert lines[0].startswith(f"{tmp_path / '7.png'}: is no image")
    assert not workers()


def fail(step, images):
    raise OSError(f"disk gone at {step}")


def test_any_other_error_comes_with_its_trace():
    with SharedMemory() as memory, pytest.raises(RuntimeError) as error:
        next(made_by_workers(fail, (1, 2), range(4, 9), 2, memory))
    assert "in fail\n" in str(error.value)
    assert "OSError: disk gone at 4" in str(error.value)


def test_a_worker_that_is_ended_is_said():
    batches_ = stream(num_steps=1000, num_workers=1)
    next(batches_)
    os.kill(workers()[0], signal.SIGKILL)
    with pytest.raises(UserError, match=r"^data\.num_workers: a process .* was ended from outside"):
        list(batches_)
    assert not workers()


def test_a_worker_that_is_stopped_is_named_and_training_goes_on(monkeypatch, caplog):
    expected = [batch["images"].copy() for batch in stream(num_workers=0)]
    batches_ = stream(num_workers=1)
    found = [next(batches_)["images"].copy()]
    monkeypatch.setattr(workers_, "_PATIENCE", 1)
    (pid,) = workers()
    os.kill(pid, signal.SIGSTOP)
    resumed = threading.Timer(2.5, os.kill, (pid, signal.SIGCONT))
    resumed.start()
    found += [batch["images"].copy() for batch in batches_]
    np.testing.assert_array_equal(found, expected)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(
        f"data.num_workers: process {pid}, which makes batches, has not answered for 1 s; "
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait_for_a_worker_that_is_stopped(number):
    received = []
    before = signal.signal(number, lambda *arguments: received.append(arguments[0]))
    try:
        batches_ = stream(num_workers=1, num_steps=50, stopping=lambda: len(received))
        next(batches_)
        (pid,) = workers()
        os.kill(pid, signal.SIGSTOP)
        threading.Timer(0.5, os.kill, (os.getpid(), number)).start()
        # What is made already, then the end; without the signal it would wait for ever.
        assert len(list(batches_)) < 5
        assert received == [number]
        assert not workers()
    finally:
        signal.signal(number, before)


def test_a_source_that_cannot_be_sent_is_refused(tmp_path):
    split = encoded(tmp_path, 0)
    files = Files(lambda name: b"", pack_names(map(str, range(30))), "there", "1")
    split.images._files = files
    with pytest.raises(UserError, match=r"^data\.num_workers: the source cannot be sent"):
        next(stream(split))
    assert not workers()


def negative(image, rng):
    return 255 - image


@pytest.mark.parametrize("name", ["negative", "horizontal_flip"])
def test_what_a_program_puts_into_a_table_is_refused(name, monkeypatch):
    monkeypatch.setitem(AUGMENTATIONS, name, negative)
    with pytest.raises(UserError, match=f"workers have not the program's own '{name}'"):
        next(stream(augmentation={name: {}}))
    next(stream(augmentation={name: {}}, num_workers=0))


def test_a_signal_to_all_does_not_reach_a_worker_that_starts():
    with SharedMemory() as memory, workers_._started(memory) as worker:
        while not (found := workers()):
            time.sleep(0.001)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(found[0], number)
        assert worker.connection.recv() == "ready"
    assert not workers()


def test_workers_find_modules_whatever_the_path_holds(monkeypatch, tmp_path):
    """As where the package lay in a folder that Python was started in, and has left."""
    root = str(Path(__file__).parents[3])
    elsewhere = [folder for folder in sys.path if folder not in ("", root)]
    monkeypatch.setattr(sys, "path", [Path("/nowhere"), "", *elsewhere])
    monkeypatch.chdir(tmp_path)
    next(stream())


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ((workers_, "_program", lambda descriptor: "raise SystemExit(3)"), "could not be started"),
        ((sys, "executable", ""), "cannot be started (.*); give fewer, or 0"),
    ],
)
def test_a_worker_that_does_not_start_is_said(changed, line, monkeypatch):
    monkeypatch.setattr(*changed)
    with pytest.raises(UserError, match=f"^data.num_workers: a process .* {line}"):
        next(stream())


def test_no_more_workers_start_than_there_are_steps():
    batches_ = stream(num_steps=2, num_workers=5)
    next(batches_)
    assert len(workers()) == 2
    batches_.close()
    assert list(stream(num_steps=0)) == []


def test_a_cache_that_no_memory_could_hold_is_refused(tmp_path):
    for most_bytes in (10**18, 10**25):
        with pytest.raises(UserError, match=r"bytes cannot be shared .* lower data\.options"):
            next(stream(encoded(tmp_path, most_bytes)))


def test_workers_end_with_a_parent_that_is_killed():
    program = """
        import time
        import numpy as np
        from darkrank_jax.data import Split, batches
        split = Split(np.zeros((8, 4, 4, 1), np.uint8), np.arange(8) // 2, tuple("abcd"))
        stream = batches(split, seed=0, first_step=0, num_steps=10**6, batch_size=4,
                         images_per_class=2, augmentation={}, num_threads=1, num_workers=2)
        next(stream)
        print("ready", flush=True)
        time.sleep(600)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout.readline() == b"ready\n"
        listed = subprocess.run(["pgrep", "-P", str(parent.pid)], capture_output=True)
        children = [int(number) for number in listed.stdout.split()]
        assert len(children) == 2
        # As Ctrl-C and a batch system do; what it means is the parent's to say.
        for child in children:
            os.kill(child, signal.SIGINT)
            os.kill(child, signal.SIGTERM)
        time.sleep(0.5)
        assert all(map(is_alive, children))
        parent.kill()
    until = time.monotonic() + 20
    while any(map(is_alive, children)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(is_alive, children))


def is_alive(number):
    """Whether a process is there and no mere entry of a table."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{number}/status").read_text()
    except FileNotFoundError:
        return False
