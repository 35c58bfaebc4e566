"""Shares the images of a listing out to training, validation and test, by class."""

import logging
from functools import partial

import numpy as np

from darkrank_jax.data.files.listing import Listing
from darkrank_jax.data.files.parts import PARTS, UNGIVEN
from darkrank_jax.data.images import Cache, EncodedImages
from darkrank_jax.data.pixels import crops
from darkrank_jax.data.split import Split, height_and_width, shuffle_classes
from darkrank_jax.errors import UserError
from darkrank_jax.terminal import printable

_TRAIN, _VALIDATION, _TEST, _QUERY, _GALLERY = range(len(PARTS))
_TESTED = (_TEST, _QUERY, _GALLERY)
# Classes of a split: of one alone, every image that is found is right.
_LEAST = 2


def share_out(
    listing: Listing,
    rows: np.ndarray,
    *,
    image_size: int | tuple[int, int],
    grayscale: bool,
    center_crop: float,
    num_train_classes: int,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
    cache_mib: int,
    max_megapixels: float,
) -> dict[str, Split]:
    """Makes the splits that the listing gives, and by class those that it does not.

    A class of one image is never held out by chance, since nothing can be found for it.

    Args:
      listing: of a source.
      rows: those of its images that count.
      image_size: pixels; one side, or height and width.
      grayscale: one channel instead of three.
      center_crop: share of the largest middle part of the image's shape that evaluation sees; 0
        stretches the whole image.
      num_train_classes: so many classes, the first in natural order, are trained and validated on
        and the others tested on, where the listing names no images to test on; 0 draws them.
      validation_fraction: share of the classes of training that is held out to validate on, where
        the listing names no such images.
      test_fraction: likewise to test on, where `num_train_classes` is 0.
      seed: of the classes that are held out.
      cache_mib: memory for decoded images; what does not fit is decoded again each time.
      max_megapixels: the most millions of pixels of an image, 1 to 178.

    Returns:
      "train", "validation" and "test", no class in two of them.

    Raises:
      UserError: a class is in two splits, or a split is left without classes.
    """
    size = height_and_width(image_size)
    crop = partial(crops.center_crop, size=size, share=center_crop) if center_crop else crops.whole
    images = EncodedImages(
        listing.files,
        rows,
        size=size,
        grayscale=grayscale,
        crop=crop,
        cache=Cache(cache_mib << 20),
        max_megapixels=max_megapixels,
    )
    listing = listing._replace(
        labels=listing.labels[rows],
        parts=listing.parts[rows],
        cameras=None if listing.cameras is None else listing.cameras[rows],
    )
    classes = _choose(
        listing,
        num_train_classes=num_train_classes,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        seed=seed,
    )
    return {name: _split(listing, images, chosen) for name, chosen in classes.items()}


def _choose(
    listing: Listing,
    *,
    num_train_classes: int,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
) -> dict[str, np.ndarray]:
    """The classes of each split."""
    parts, labels = listing.parts, listing.labels
    masks = {
        "train": np.isin(parts, (_TRAIN, UNGIVEN)),
        "validation": parts == _VALIDATION,
        "test": np.isin(parts, _TESTED),
    }
    classes = {name: np.unique(labels[mask]) for name, mask in masks.items()}
    _check_disjoint(listing, classes)
    counts = np.bincount(labels[masks["train"]], minlength=len(listing.class_names))
    _tell_alone(listing, counts)
    if not len(classes["test"]):
        test = _held_out(classes["train"], counts, test_fraction, seed)
        if num_train_classes:
            test = classes["train"][num_train_classes:]
        classes["test"], classes["train"] = test, np.setdiff1d(classes["train"], test)
    if not len(classes["validation"]):
        held = _held_out(classes["train"], counts, validation_fraction, seed + 1)
        classes["validation"], classes["train"] = held, np.setdiff1d(classes["train"], held)
    _check_filled(listing, classes)
    return classes


def _held_out(classes: np.ndarray, counts: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """A share of the classes, at least two, drawn from those of more than one image."""
    able = classes[counts[classes] > 1]
    number = min(len(able), max(_LEAST, round(fraction * len(classes))))
    return np.sort(able[shuffle_classes(len(able), seed)[:number]])


def _split(listing: Listing, images: EncodedImages, classes: np.ndarray) -> Split:
    """The images of some classes, numbered anew in their order."""
    number = np.full(len(listing.class_names), -1, np.int32)
    number[classes] = np.arange(len(classes), dtype=np.int32)
    rows = np.flatnonzero(number[listing.labels] >= 0)
    queries = listing.parts[rows] == _QUERY
    return Split(
        images.select(rows),
        number[listing.labels[rows]],
        tuple(listing.class_names[label] for label in classes),
        None if listing.cameras is None else listing.cameras[rows],
        queries if queries.any() else None,
    )


def _check_disjoint(listing: Listing, classes: dict[str, np.ndarray]) -> None:
    """Refuses a class in two splits: what is tested must be unseen."""
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        shared = np.intersect1d(classes[one], classes[other])
        if len(shared):
            first = printable(listing.class_names[shared[0]])
            raise UserError(
                f"data.path: {len(shared)} of {len(classes[other])} classes of {other} are also in "
                f"{one}, first {first!r}; what is measured must be unseen, so keep each class in "
                f"one of them, or give {one} alone, of which classes are held out"
            )


def _check_filled(listing: Listing, classes: dict[str, np.ndarray]) -> None:
    """Refuses splits that nothing can be learnt from or measured on."""
    counts = np.bincount(listing.labels)
    # An image that is alone in its class can be learnt from, but not found.
    least = {"train": 1, "validation": 2, "test": 2}
    found = {name: int((counts[classes[name]] >= least[name]).sum()) for name in classes}
    if min(found.values()) < _LEAST:
        shares = ", ".join(f"{number} to {name}" for name, number in found.items())
        raise UserError(
            f"data.path: of {len(listing.class_names)} classes {shares}; each needs "
            f"{_LEAST}, but for train of two images or more; add classes, or change data.options"
        )
    tested = listing.parts[np.isin(listing.parts, (_QUERY, _GALLERY))]
    if len(np.unique(tested)) == 1:
        other = {_QUERY: "gallery", _GALLERY: "query"}[int(tested[0])]
        raise UserError(f"data.path: has no {other} images; add them, or name the split test")


def _tell_alone(listing: Listing, counts: np.ndarray) -> None:
    """Warns of classes with one image."""
    alone = np.flatnonzero(counts == 1)
    if len(alone):
        line = "%d classes have one image, which has no positive; first %r; add images to them"
        logging.getLogger(__name__).warning(line, len(alone), listing.class_names[alone[0]])
