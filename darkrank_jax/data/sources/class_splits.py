"""Splits of a listing, disjoint in classes, and the options by which they are made."""

import dataclasses
import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from darkrank_jax.data.files.listing import Listing
from darkrank_jax.data.files.parts import PARTS, UNGIVEN
from darkrank_jax.data.images import Cache, EncodedImages
from darkrank_jax.data.pixels import crops
from darkrank_jax.data.pixels.limits import MAX_MEGAPIXELS
from darkrank_jax.data.split import (
    Split,
    check_ranges,
    height_and_width,
    select_classes,
    shuffle_classes,
)
from darkrank_jax.errors import UserError
from darkrank_jax.terminal import printable

_TRAIN, _VALIDATION, _TEST, _QUERY, _GALLERY = range(len(PARTS))
_TESTED = (_TEST, _QUERY, _GALLERY)
# Classes of a split: of one alone, every image that is found is right.
_LEAST = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """How a listing becomes splits: the size of images, and the classes that are held out.

    Attributes:
      image_size: pixels; one side, or height and width.
      grayscale: one channel instead of three.
      center_crop: share of the largest middle part of the image's shape that evaluation sees; 0
        stretches the whole image.
      num_train_classes: number of classes, the first in natural order, to train and validate on;
        the rest is tested on, where the listing names no images to test on; 0 draws them.
      validation_fraction: share of the classes of training that is held out to validate on, where
        the listing names no such images.
      test_fraction: likewise to test on, where `num_train_classes` is 0.
      seed: of the classes that are held out.
      cache_mib: memory for decoded images; what does not fit is decoded again each time.
      max_megapixels: the most millions of pixels of an image, 1 to 178.

    Raises:
      UserError: a number is out of its range.
    """

    image_size: int | tuple[int, int]
    grayscale: bool = False
    center_crop: float = 1.0
    num_train_classes: int = 0
    validation_fraction: float = 0.15
    test_fraction: float = 0.25
    seed: int = 0
    cache_mib: int = 2048
    max_megapixels: float = MAX_MEGAPIXELS

    def __post_init__(self) -> None:
        fields = dataclasses.asdict(self)
        check_ranges(**{n: fields[n] for n in fields if n not in ("image_size", "grayscale")})


def with_split_options(
    source: Callable[..., dict[str, Split]], *, without: tuple[str, ...] = ()
) -> Callable[..., dict[str, Split]]:
    """A source that takes `SplitOptions` first, as one that takes the fields as keywords.

    Args:
      source: function of the options, and of keyword arguments of its own.
      without: fields that it does not offer.

    Returns:
      An entry of SOURCES, with the signature by which configs are checked.
    """
    shared = inspect.signature(SplitOptions).parameters
    offered = [name for name in shared if name not in without]

    @functools.wraps(source)
    def flat(**arguments: Any) -> dict[str, Split]:
        options = {name: arguments.pop(name) for name in offered if name in arguments}
        return source(SplitOptions(**options), **arguments)

    own = inspect.signature(source)
    parameters = [*list(own.parameters.values())[1:], *(shared[name] for name in offered)]
    flat.__annotations__ = {each.name: each.annotation for each in parameters}
    vars(flat)["__signature__"] = own.replace(parameters=parameters)
    return flat


def make_splits(
    listing: Listing, options: SplitOptions, chosen: np.ndarray | None = None
) -> dict[str, Split]:
    """Makes the splits that the listing gives, and by class those that it does not.

    A class of one image is never held out by chance, since nothing can be found for it.

    Args:
      listing: of a source.
      options: size, crop and classes.
      chosen: int, numbers of its images that count; None: all.

    Returns:
      "train", "validation" and "test", no class in two of them.

    Raises:
      UserError: a class is in two splits, or a split is left without classes.
    """
    if chosen is None:
        chosen = np.arange(len(listing.labels))
    listing = listing._replace(
        labels=listing.labels[chosen],
        parts=listing.parts[chosen],
        cameras=None if listing.cameras is None else listing.cameras[chosen],
    )
    images = images_of(listing, options, chosen)
    queries = listing.parts == _QUERY
    whole = Split(images, listing.labels, listing.class_names, listing.cameras, queries)
    classes = _classes_of_splits(listing, options)
    return {name: select_classes(whole, held) for name, held in classes.items()}


def images_of(listing: Listing, options: SplitOptions, chosen: np.ndarray) -> EncodedImages:
    """The images of a listing at the size, and with the crop, of its splits.

    Args:
      listing: of a source.
      options: size and crop.
      chosen: int, numbers of its images.
    """
    size, share = height_and_width(options.image_size), options.center_crop
    return EncodedImages(
        listing.files,
        chosen,
        size=size,
        grayscale=options.grayscale,
        crop=functools.partial(crops.center_crop, size=size, share=share) if share else crops.whole,
        cache=Cache(options.cache_mib << 20),
        max_megapixels=options.max_megapixels,
    )


def _classes_of_splits(listing: Listing, options: SplitOptions) -> dict[str, np.ndarray]:
    """The classes of each split, ascending."""
    parts, labels, seed = listing.parts, listing.labels, options.seed
    masks = {
        "train": np.isin(parts, (_TRAIN, UNGIVEN)),
        "validation": parts == _VALIDATION,
        "test": np.isin(parts, _TESTED),
    }
    classes = {name: np.unique(labels[mask]) for name, mask in masks.items()}
    _check_disjoint(listing, classes)
    counts = np.bincount(labels[masks["train"]], minlength=len(listing.class_names))
    _warn_of_single_images(listing, counts)
    if not len(classes["test"]):
        test = _held_out(classes["train"], counts, options.test_fraction, seed)
        if options.num_train_classes:
            test = classes["train"][options.num_train_classes :]
        classes["test"], classes["train"] = test, np.setdiff1d(classes["train"], test)
    if not len(classes["validation"]):
        held = _held_out(classes["train"], counts, options.validation_fraction, seed + 1)
        classes["validation"], classes["train"] = held, np.setdiff1d(classes["train"], held)
    _check_filled(listing, classes)
    return classes


def _held_out(classes: np.ndarray, counts: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """A share of the classes, at least two, drawn from those of more than one image."""
    able = classes[counts[classes] > 1]
    number = min(len(able), max(_LEAST, round(fraction * len(classes))))
    return np.sort(able[shuffle_classes(len(able), seed)[:number]])


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


def _warn_of_single_images(listing: Listing, counts: np.ndarray) -> None:
    """Warns of classes with one image."""
    alone = np.flatnonzero(counts == 1)
    if len(alone):
        line = "%d classes have one image, which has no positive; first %r; add images to them"
        logging.getLogger(__name__).warning(line, len(alone), listing.class_names[alone[0]])
