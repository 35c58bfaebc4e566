"""Omniglot (Lake et al., Science 2015) from its authors' two archives."""

import io
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from darkrank_jax.data.files.archives import open_entries
from darkrank_jax.data.files.folders import is_hidden
from darkrank_jax.data.split import (
    Split,
    check_ranges,
    height_and_width,
    select_classes,
    shuffle_classes,
)
from darkrank_jax.errors import UserError

_BACKGROUND, _EVALUATION = "images_background.zip", "images_evaluation.zip"
# More undecodable images than this share mean that something is wrong with the archive.
_TOLERATED = 0.01


def omniglot(
    *, path: str, image_size: int | tuple[int, int], validation_fraction: float = 0.2, seed: int = 0
) -> dict[str, Split]:
    """The background characters to train and validate on, the evaluation characters to test on.

    Args:
      path: folder that holds images_background.zip and images_evaluation.zip, or a folder
        `omniglot` with them; empty: the environment variable DARKRANK_DATA.
      image_size: pixels; one side, or height and width.
      validation_fraction: share of the background characters held out.
      seed: of which characters are held out.

    Returns:
      "train", "validation" and "test"; uint8 [n, h, w, 1], strokes 255 on 0. A class is
      named "alphabet/character".

    Raises:
      UserError: a number is out of its range, or an archive is missing, damaged, or more than 1 %
        of its images are; the line names the option or the file.
    """
    check_ranges(validation_fraction=validation_fraction, seed=seed)
    folder, size = _folder(path), height_and_width(image_size)
    background = _read(folder / _BACKGROUND, size)
    count = len(background.class_names)
    order = shuffle_classes(count, seed)
    held_out = round(validation_fraction * count)
    if not 1 <= held_out <= count - 2:
        raise UserError(
            f"data.options.validation_fraction: must leave 1 to {count - 2} of {count} characters "
            f"to validate on (got {validation_fraction}, {held_out} characters)"
        )
    return {
        "train": select_classes(background, np.sort(order[held_out:])),
        "validation": select_classes(background, np.sort(order[:held_out])),
        "test": _read(folder / _EVALUATION, size),
    }


def _folder(path: str) -> Path:
    """Where the archives lie."""
    given = path or os.environ.get("DARKRANK_DATA", "")
    if not given:
        raise UserError(
            f"data.path: must be the folder that holds {_BACKGROUND} and {_EVALUATION} (got "
            "nothing); give --config.data.path=DIR, or set the environment variable DARKRANK_DATA"
        )
    nested = Path(given) / "omniglot"
    return nested if nested.is_dir() else Path(given)


def _read(path: Path, size: tuple[int, int]) -> Split:
    """All characters of an archive."""
    if not path.exists():
        raise UserError(f"{path}: must exist; put the authors' archive there, or set data.path")
    archive = open_entries(path)
    entries = sorted(n for n in archive.names if n.endswith(".png") and not is_hidden(n))
    if not entries:
        raise UserError(f"{path}: holds no .png; fetch it again from its authors")
    with ThreadPoolExecutor() as pool:
        decoded = list(pool.map(lambda entry: _decode(archive.read(entry), size), entries))
    images = {e: image for e, image in zip(entries, decoded, strict=True) if image is not None}
    _warn_of_skipped(path, [entry for entry in entries if entry not in images], len(entries))
    characters = ["/".join(entry.split("/")[-3:-1]) for entry in images]
    names = sorted(set(characters))
    number = {name: label for label, name in enumerate(names)}
    labels = np.array([number[character] for character in characters], np.int32)
    return Split(np.stack(list(images.values())), labels, tuple(names))


def _decode(file: bytes, size: tuple[int, int]) -> np.ndarray | None:
    """One image [h, w, 1] with its strokes at 255, or None where it cannot be decoded."""
    try:
        with Image.open(io.BytesIO(file)) as picture:
            resized = picture.convert("L").resize((size[1], size[0]), Image.Resampling.BOX)
    except (OSError, SyntaxError, ValueError):
        return None
    return 255 - np.asarray(resized)[:, :, None]


def _warn_of_skipped(path: Path, skipped: list[str], total: int) -> None:
    """Names images that could not be decoded, and refuses an archive with too many of them."""
    if not skipped:
        return
    line = f"{path}: {len(skipped)} of {total} images cannot be decoded, first {skipped[0]}"
    if len(skipped) > _TOLERATED * total:
        raise UserError(f"{line}; fetch the archive again from its authors")
    logging.getLogger(__name__).warning("%s; they are left out", line)
