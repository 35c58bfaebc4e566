"""Which images were measured: a word by which two measurements of the same images are known."""

import json

from darkrank_jax.data import Split
from darkrank_jax.data.split import UNLABELLED
from darkrank_jax.digests import digest

_PARTS = 3


def images_digest(split: Split) -> str:
    """A word for the images of a split, in their order.

    Three parts, with a colon between: what the images are, their size, and what they show. What
    they are is the class of each by name, which search, and the names of their files without the
    folders, so that an archive is what is unpacked of it. What they show is the pixels of images in
    memory; of files, whose pixels differ with what decodes them, the bytes of some, at no size.

    Args:
      split: the images.

    Returns:
      The word, the same on every machine.

    Example:
      >>> import numpy as np
      >>> split = Split(np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 0]), ("a", "b"))
      >>> images_digest(split).split(":")[1]
      '8x8x1'
    """
    what = {
        "classes": [
            None if label == UNLABELLED else split.class_names[label] for label in split.labels
        ],
        "queries": None if split.queries is None else split.queries.tolist(),
        "names": [name.rpartition("/")[2] for name in split.names],
    }
    size, shown = split.images.sample()
    return ":".join([_digest([json.dumps(what).encode()]), size, _digest(shown)])


def same_digest(first: str | None, second: str | None) -> bool | None:
    """Whether two words are of the same images.

    Pixels are compared at equal sizes alone: networks may take the same images at several.

    Args:
      first: of `images_digest`, or None where the images are not known.
      second: likewise.

    Returns:
      None where one is not known.

    Example:
      >>> same_digest("a:8x8x1:b", "a:8x8x1:c"), same_digest("a:8x8x1:b", "a:9x9x1:c")
      (False, True)
    """
    if first is None or second is None:
        return None
    (what, size, shown), (other_what, other_size, other_shown) = (
        word.split(":") for word in (first, second)
    )
    return what == other_what and (size != other_size or shown == other_shown)


def is_digest(word: object) -> bool:
    """Whether something has the form of a word of `images_digest`."""
    return isinstance(word, str) and len(word.split(":")) == _PARTS


def _digest(parts: list[bytes]) -> str:
    """A digest in which it counts where the parts are cut."""
    return digest((len(part).to_bytes(8, "little") + part for part in parts), "blake2b-128")
