"""Images in: sources by name, P x K batches, augmentation, and threads that keep up."""

from collections.abc import Callable

from darkrank_jax.data.augmentation import AUGMENTATIONS
from darkrank_jax.data.glyphs import glyphs
from darkrank_jax.data.loader import batches
from darkrank_jax.data.omniglot import omniglot
from darkrank_jax.data.split import Split, check_batch

__all__ = ["AUGMENTATIONS", "SOURCES", "Split", "batches", "check_batch"]

# Name -> function of `path`, `image_size` and options that gives the splits, disjoint in classes.
SOURCES: dict[str, Callable[..., dict[str, Split]]] = {"glyphs": glyphs, "omniglot": omniglot}
