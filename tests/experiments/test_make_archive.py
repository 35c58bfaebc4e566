"""The archive of the experiment on half of Cars-196, from files laid out as the authors' are."""

import io
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from experiments.cars196_half.make_archive import make_archive


def tar(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


@pytest.fixture
def source(tmp_path):
    """Two photographs of 300 x 200 whose boxes alone are bright, and a third that nobody lists."""
    boxes = {"00001.jpg": (11, 21, 250, 120), "00002.jpg": (101, 1, 220, 200)}
    files = {}
    for name, (left, top, right, bottom) in boxes.items():
        pixels = np.zeros((200, 300, 3), np.uint8)
        pixels[top - 1 : bottom, left - 1 : right] = (250, 200, 30)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=95)
        files[f"cars_train/{name}"] = file.getvalue()
    tar(tmp_path / "cars_train.tgz", files | {"cars_train/00003.jpg": b"not listed"})
    kinds = [*((f"bbox_{side}", "i4") for side in ("x1", "y1", "x2", "y2")), ("class", "i4")]
    rows = np.array(
        [(*boxes["00001.jpg"], 14, "00001.jpg"), (*boxes["00002.jpg"], 3, "00002.jpg")],
        dtype=[*kinds, ("fname", "O")],
    )
    mat = io.BytesIO()
    savemat(mat, {"annotations": rows})
    tar(tmp_path / "car_devkit.tgz", {"devkit/cars_train_annos.mat": mat.getvalue()})
    return tmp_path


def test_each_photograph_is_its_box_under_its_class(source):
    target = source / "made" / "cars.zip"
    assert make_archive(source, target) == 2
    sizes = {}
    with zipfile.ZipFile(target) as archive:
        for name in archive.namelist():
            picture = Image.open(io.BytesIO(archive.read(name)))
            sizes[name] = picture.size
            # Nothing dark is left of what lies around the box.
            assert np.abs(np.asarray(picture, int) - (250, 200, 30)).max() < 40
    assert sizes == {"003/00002.jpg": (96, 160), "014/00001.jpg": (230, 96)}
    first = target.read_bytes()
    make_archive(source, target)
    assert target.read_bytes() == first


def test_says_that_photographs_are_missing(source):
    tar(source / "cars_train.tgz", {})
    with pytest.raises(SystemExit, match="has 0 of the 2 photographs; fetch it again"):
        make_archive(source, source / "x.zip")
    assert not (source / "x.zip").exists()
