"""Makes an archive like that of the experiment from the authors' files.

    python -m experiments.cars196_half.make_archive SOURCE TARGET

SOURCE holds the authors' cars_train.tgz and car_devkit.tgz; TARGET is the .zip to write, for the
experiment DARKRANK_DATA/cars196_half/cars196_half_96px.zip. Each photograph is cut to its box,
reduced so that the shorter side has 96 pixels, and saved as a JPEG of quality 82 under its class.

How the archive of the published table was made is not recorded. It has this layout, 8,144
photographs named 00001.jpg to 08144.jpg, and JPEG's tables of quality 82; pixels need not be equal.
Tried on a made-up layout alone, not on the authors' files.
"""

import argparse
import io
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from PIL import Image
from scipy.io import loadmat

from darkrank_jax.files import replacing
from experiments.refusing import refusing

SIDE, QUALITY = 96, 82


class Photograph(NamedTuple):
    """What the authors say of one: its class from 1, and its box, corners counted from 1."""

    label: int
    box: tuple[int, int, int, int]


def read_annotations(devkit: Path) -> dict[str, Photograph]:
    """The photographs of the training half by file name.

    Args:
      devkit: car_devkit.tgz.
    """
    with tarfile.open(devkit) as archive:
        name = next(n for n in archive.getnames() if n.endswith("cars_train_annos.mat"))
        file: Any = archive.extractfile(name)
        rows = loadmat(io.BytesIO(file.read()), squeeze_me=True)["annotations"]
    found = {}
    for row in rows:
        left, top, right, bottom = (int(row[f"bbox_{side}"]) for side in ("x1", "y1", "x2", "y2"))
        found[str(row["fname"])] = Photograph(int(row["class"]), (left, top, right, bottom))
    return found


def cut(file: bytes, box: tuple[int, int, int, int]) -> bytes:
    """A photograph cut to its box and reduced, as a JPEG."""
    left, top, right, bottom = box
    picture = Image.open(io.BytesIO(file)).convert("RGB").crop((left - 1, top - 1, right, bottom))
    width, height = picture.size
    scale = SIDE / min(width, height)
    out = io.BytesIO()
    picture.resize((round(scale * width), round(scale * height)), Image.Resampling.LANCZOS).save(
        out, "JPEG", quality=QUALITY
    )
    return out.getvalue()


def make_archive(source: Path, target: Path) -> int:
    """Writes the archive.

    Args:
      source: holds cars_train.tgz and car_devkit.tgz.
      target: the .zip to write.

    Returns:
      How many photographs it holds.
    """
    listed = read_annotations(source / "car_devkit.tgz")
    found = {}
    with tarfile.open(source / "cars_train.tgz") as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            if member.isfile() and name in listed:
                file: Any = archive.extractfile(member)
                found[f"{listed[name].label:03d}/{name}"] = cut(file.read(), listed[name].box)
    if len(found) != len(listed):
        sys.exit(
            f"error: {source}: has {len(found)} of the {len(listed)} photographs; fetch it again"
        )
    with replacing(target) as beside, zipfile.ZipFile(beside, "w") as archive:
        for name in sorted(found):
            # A fixed date, so that the same files make the same archive.
            archive.writestr(zipfile.ZipInfo(name), found[name])
    return len(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    with refusing():
        count = make_archive(arguments.source, arguments.target)
    print(f"Wrote {count:,} photographs to {arguments.target}.")
