"""Pictures that are small as files and large to decode, and metadata that is broken."""

import io
import struct
import subprocess
import sys
import threading

import pytest
from PIL import Image

from darkrank_jax.data.pixels import limits
from darkrank_jax.data.pixels.limits import Budget, count_scans, decoding_budget
from darkrank_jax.data.pixels.pictures import decode
from darkrank_jax.errors import UserError
from tests.data.image_files import encoded
from tests.data.pixels.picture_files import (
    COLOURS,
    FILES,
    JPEG,
    PNG,
    RGB,
    SIZE,
    scans_of_nothing,
    with_segment,
)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP"])
def test_more_pixels_than_allowed_are_refused(kind):
    file = encoded(Image.new("L" if kind == "JPEG" else "RGB", (1500, 1000)), kind)
    assert decode(file, "x", max_megapixels=1.5, size=(9, 9), grayscale=True).shape[0] >= 18
    line = r"^a: cannot be decoded \(it has 1\.5 megapixels, data\.options\.max_megapixels is 1\);"
    for image in (file, Image.open(io.BytesIO(file))):
        with pytest.raises(UserError, match=line):
            decode(image, "a", max_megapixels=1, size=(9, 9), grayscale=True)


PROGRESSIVE = encoded(RGB, "JPEG", progressive=True)


def test_scans_are_counted():
    assert count_scans(JPEG) == 1
    assert count_scans(PROGRESSIVE) == 10
    assert count_scans(scans_of_nothing(PROGRESSIVE, 30)) == 40
    # What only looks like a scan does not count: in a comment before, between, or after the end.
    looks = b"\xff\xda" * 300
    assert count_scans(with_segment(0xFE, looks, PROGRESSIVE)) == 10
    assert count_scans(PROGRESSIVE + looks) == 10
    comment = b"\xff\xfe" + struct.pack(">H", len(looks) + 2) + looks
    assert count_scans(PROGRESSIVE[:-2] + comment + b"\xff\xd9") == 10


@pytest.mark.parametrize("cut", [*range(0, 40, 3), 200, 400])
def test_scans_of_a_cut_file_are_counted_without_an_error(cut):
    assert count_scans(JPEG[: 2 + cut]) in (0, 1)


def test_a_progressive_file_of_many_scans_is_refused():
    file = scans_of_nothing(PROGRESSIVE, 5000)
    with pytest.raises(UserError, match=r"^a: cannot be decoded \(it has 101 or more scans of 0"):
        decode(file, "a", **SIZE)
    few = scans_of_nothing(encoded(RGB.resize((1200, 800)), "JPEG", progressive=True), 30)
    with pytest.raises(UserError, match=r"^a: cannot be decoded \(it has 40 scans of 1\.0 mega"):
        decode(few, "a", max_megapixels=1, **SIZE)
    assert decode(PROGRESSIVE, "a", max_megapixels=1, **SIZE).shape == COLOURS.shape


def test_a_budget_bounds_what_threads_take_together():
    budget, taken, most, lock = Budget(100, 10), 0, [], threading.Lock()

    def take(size):
        nonlocal taken
        for _ in range(20):
            with budget.taken(size):
                with lock:
                    taken += size
                    most.append(taken)
                with lock:
                    taken -= size

    threads = [threading.Thread(target=take, args=(size,)) for size in (30, 40, 50, 60, 70)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 100
    assert max(most) <= 100
    # More than there are is given alone; few are given at once.
    with budget.taken(1000), budget.taken(9):
        pass
    with budget.taken(100):
        pass


def test_a_failed_decoding_gives_its_bytes_back(monkeypatch):
    budget = Budget(1000, 0)
    monkeypatch.setattr("darkrank_jax.data.pixels.pictures.decoding_budget", lambda: budget)
    for file in (PNG[:-40], JPEG[:-300], FILES["16-bit tiff"][:-20]):
        with pytest.raises(UserError):
            decode(file, "a", **SIZE)
    with budget.taken(1000):
        pass


LARGE = """
import io, resource, sys
from concurrent.futures import ThreadPoolExecutor
from PIL import Image
from darkrank_jax.data.pixels.pictures import decode
mode, kind = sys.argv[1:]
buffer = io.BytesIO()
exif = Image.Exif()
exif[0x0112] = 6
Image.new(mode, (9900, 9900)).save(buffer, kind, exif=exif)
resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))
with ThreadPoolExecutor(6) as pool:
    jobs = [
        pool.submit(decode, buffer.getvalue(), "x", size=(224, 224), grayscale=False)
        for _ in range(6)
    ]
    print({job.result().shape for job in jobs})
"""


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "kind"), [("RGBA", "PNG"), ("I;16", "PNG")])
def test_large_pictures_in_many_threads_take_bounded_memory(mode, kind):
    done = subprocess.run(
        [sys.executable, "-c", LARGE, mode, kind],
        capture_output=True,
        text=True,
        check=False,
        env={
            "MALLOC_ARENA_MAX": "2",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": ":".join(sys.path),
        },
    )
    assert done.stdout.strip() == "{(450, 450, 3)}", done.stderr[-2000:]


def test_the_default_limit_is_less_than_pillows():
    assert limits.MAX_MEGAPIXELS * 1e6 < 2 * Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("stated", ["0", "-3", "2.5", "many", ""])
def test_a_decoding_budget_that_is_not_a_whole_number_is_refused(stated, monkeypatch):
    monkeypatch.setenv("DARKRANK_DECODE_MIB", stated)
    decoding_budget.cache_clear()
    with pytest.raises(UserError, match=r"^DARKRANK_DECODE_MIB: must be a whole number of MiB"):
        decoding_budget()


def test_the_decoding_budget_of_the_environment_makes_a_second_picture_wait(monkeypatch):
    monkeypatch.setenv("DARKRANK_DECODE_MIB", "100")
    decoding_budget.cache_clear()
    budget, entered = decoding_budget(), threading.Event()

    def second():
        with budget.taken(60 << 20):
            entered.set()

    with budget.taken(60 << 20):
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.2)
    assert entered.wait(5)
    thread.join()
    monkeypatch.undo()
    decoding_budget.cache_clear()
