"""Images in: sources by name, samplers, augmentation, and threads or workers that keep up."""

from collections.abc import Callable

from darkrank_jax.data.cache import cache_folder
from darkrank_jax.data.images import Images
from darkrank_jax.data.joined import join_unlabelled
from darkrank_jax.data.loading.loader import batches, every_view, view_of
from darkrank_jax.data.loading.sampler import (
    POOL,
    SAMPLERS,
    check_batch,
    class_neighbors,
    of_process,
)
from darkrank_jax.data.pixels.augmentation import AUGMENTATIONS
from darkrank_jax.data.pixels.crops import CROPS
from darkrank_jax.data.sources.class_splits import with_split_options
from darkrank_jax.data.sources.glyphs import glyphs
from darkrank_jax.data.sources.omniglot import omniglot
from darkrank_jax.data.sources.own_images import own_images
from darkrank_jax.data.sources.standard_sets import STANDARD_SETS
from darkrank_jax.data.sources.tfds_source import standard_set, tfds_images
from darkrank_jax.data.sources.unlabelled import unlabelled_images
from darkrank_jax.data.split import Split, height_and_width, labelled_part

__all__ = [
    "AUGMENTATIONS",
    "CROPS",
    "POOL",
    "SAMPLERS",
    "SOURCES",
    "Images",
    "Split",
    "batches",
    "cache_folder",
    "check_batch",
    "class_neighbors",
    "every_view",
    "height_and_width",
    "join_unlabelled",
    "labelled_part",
    "of_process",
    "view_of",
]

# Name -> function of `path`, `image_size` and options that gives the splits, disjoint in classes;
# of images without labels only "train" and "validation".
SOURCES: dict[str, Callable[..., dict[str, Split]]] = {
    "glyphs": glyphs,
    "images": with_split_options(own_images),
    "omniglot": omniglot,
    "tfds": with_split_options(tfds_images),
    "unlabelled": with_split_options(
        unlabelled_images, without=("num_train_classes", "validation_fraction", "test_fraction")
    ),
    # The archives of Omniglot are read as they are.
    **{name: standard_set(name) for name in STANDARD_SETS if name != "omniglot"},
}
