"""Images of which no class is known, which learn from a teacher alone."""

from pathlib import Path

import numpy as np

from darkrank_jax.data.files.archives import open_entries
from darkrank_jax.data.files.inspection import inspect
from darkrank_jax.data.files.listing import Line, Listing, gather
from darkrank_jax.data.files.shards import is_shards, shard_listing
from darkrank_jax.data.sources.class_splits import SplitOptions, images_of
from darkrank_jax.data.sources.own_images import image_names
from darkrank_jax.data.split import UNLABELLED, Split, check_ranges
from darkrank_jax.errors import UserError

# Largest share of the images that is held out.
_MOST_HELD = 0.2
# Of which overlap at 10 can be measured.
_LEAST_HELD = 11


def unlabelled_images(
    options: SplitOptions,
    *,
    path: str,
    validation_images: int = 500,
    inspect_images: bool = True,
    tolerated: float = 0.01,
) -> dict[str, Split]:
    """Images without labels; the folders that they lie in do not count.

    Args:
      options: size and crop of the images.
      path: folder, .zip or .tar (plain or compressed); or WebDataset's shards,
        "shard-{000..099}.tar" or a URL of fsspec, whose classes are not read.
      validation_images: number of images, at most a fifth of all, that are held out: on them the
        student's agreement with its teacher chooses the checkpoint.
      inspect_images: looks at every image once, before the first run.
      tolerated: largest share of images that may be left out as broken.

    Returns:
      "train" and "validation", all labels UNLABELLED and no class names.

    Raises:
      UserError: a number is out of its range, the source cannot be read, too many of its images are
        broken, or there are too few.
    """
    if not path:
        raise UserError("data.path: must not be empty; give a folder, a .zip or a .tar of images")
    check_ranges(tolerated=tolerated, validation_images=validation_images)
    listing = shard_listing(path, labelled=False) if is_shards(path) else _list(Path(path))
    numbers = np.arange(len(listing.labels))
    if inspect_images:
        numbers = inspect(listing, tolerated=tolerated, max_megapixels=options.max_megapixels)
    images = images_of(listing, options, numbers)
    held = min(validation_images, int(_MOST_HELD * len(numbers)))
    if held < _LEAST_HELD:
        raise UserError(
            f"data.path: must hold at least {round(_LEAST_HELD / _MOST_HELD)} images, of which "
            f"{_LEAST_HELD} are held out (got {len(numbers)}); add images"
        )
    chosen = np.zeros(len(numbers), bool)
    rng = np.random.default_rng((options.seed, len(numbers)))
    chosen[rng.choice(len(numbers), held, replace=False)] = True
    return {
        name: Split(images.select(rows), np.full(len(rows), UNLABELLED, np.int32), ())
        for name, rows in (
            ("train", np.flatnonzero(~chosen)),
            ("validation", np.flatnonzero(chosen)),
        )
    }


def _list(path: Path) -> Listing:
    """The images of a folder or an archive, as of one class."""
    entries = open_entries(path)
    lines = (Line(name, "") for name in image_names(path, entries.names))
    return gather(lines, read=entries.read, where=path, digest=entries.digest)
