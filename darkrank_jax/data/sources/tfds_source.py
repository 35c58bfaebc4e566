"""Images of tensorflow-datasets: the standard sets, and any other set with images and labels."""

import contextlib
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from darkrank_jax.data.files.archives import listed_files
from darkrank_jax.data.files.folders import warn_left_out
from darkrank_jax.data.files.listing import Line, Listing, gather
from darkrank_jax.data.files.parts import PARTS
from darkrank_jax.data.sources.class_splits import (
    SplitOptions,
    make_splits,
    with_split_options,
)
from darkrank_jax.data.sources.standard_sets import (
    STANDARD_SETS,
    VERSION,
    archives_digest,
    find_images,
)
from darkrank_jax.data.split import Split
from darkrank_jax.errors import UserError, nearest
from darkrank_jax.files import read_json

_OWN = "darkrank_sets"


def tfds_images(
    options: SplitOptions, *, path: str, name: str, data_dir: str = ""
) -> dict[str, Split]:
    """A set of tensorflow-datasets, built first where it is not there yet.

    Standard sets keep their authors' split; of any other set all images are put together and split
    by class, since its own splits usually share their classes. What is built of the archives of a
    standard set is used as long as these stay as they are, or are not there at all.

    Args:
      options: size, crop and classes of the splits.
      path: folder of the authors' archives, for what cannot be downloaded; empty: the environment
        variable DARKRANK_DATA.
      name: as `tfds.builder` has it; "darkrank_sets/NAME" is a standard set.
      data_dir: where built sets lie; empty: TFDS_DATA_DIR, or ~/tensorflow_datasets.

    Returns:
      "train", "validation" and "test", no class in two of them.

    Raises:
      UserError: the set is unknown, cannot be built without TensorFlow, is damaged, or is not of
        images with labels.
    """
    from tensorflow_datasets.core import constants

    own = name.removeprefix(f"{_OWN}/") if name.startswith(f"{_OWN}/") else ""
    root = Path(data_dir or constants.DATA_DIR).expanduser()
    if own:
        root = _of_archives(own, path, root)
    elif path and not Path(path).is_dir():
        raise UserError(
            f"{path}: must be a folder; give the folder of the set's archives as data.path"
        )
    with _readable(root, name):
        builder = _builder(name, root)
        prepared = builder.is_prepared()
    if not prepared:
        _build(builder, own, path)
    with _readable(root, name):
        listing = _list(builder, own=bool(own))
    if own:
        _warn_of_counts(own, listing)
    return make_splits(listing, options)


def standard_set(name: str) -> Callable[..., dict[str, Split]]:
    """The entry of SOURCES for a standard set: `tfds_images` with its name and authors' split."""

    def source(options: SplitOptions, *, path: str, data_dir: str = "") -> dict[str, Split]:
        return tfds_images(options, path=path, name=f"{_OWN}/{name}", data_dir=data_dir)

    source.__doc__ = f"{name}, with the split of its authors; see `tfds_images`."
    return with_split_options(source, without=("num_train_classes", "test_fraction"))


def _of_archives(name: str, path: str, root: Path) -> Path:
    """The folder below a root for what is built of the archives at hand."""
    if name not in STANDARD_SETS:
        raise UserError(
            f"data.options.name: no standard set {name!r}; {nearest(name, STANDARD_SETS)}"
        )
    given = path or os.environ.get("DARKRANK_DATA", "")
    try:
        if not given:
            raise UserError(
                f"data.path: must be the folder that holds the archives of {name} (got nothing); "
                "give --config.data.path=DIR, or set the environment variable DARKRANK_DATA"
            )
        return root / _OWN / archives_digest(name, Path(given))
    except UserError:
        # The archives need not be kept, where there is no doubt which they were.
        own = f"{_OWN}/{name}/{VERSION}"
        # By `tfds build`, or here.
        built = [*root.glob(own), *root.glob(f"{_OWN}/*/{own}")]
        if path or len(built) != 1:
            raise
        return built[0].parents[2]


def _builder(name: str, folder: Path) -> Any:
    """The builder of a set; a set that was built elsewhere needs its folder alone."""
    import tensorflow_datasets as tfds

    # Registers the standard sets.
    from darkrank_jax.data.sources import tfds_builder  # noqa: F401

    first = re.split("[/:]", name)[0]
    if re.fullmatch(r"\w+", first):
        _check_features(folder / first)
    try:
        return tfds.builder(name, data_dir=folder, file_format="array_record")
    except (tfds.core.DatasetNotFoundError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"data.options.name: {name!r} is no set of tfds here ({reason})") from error


def _check_features(folder: Path) -> None:
    """Refuses a built set for which tfds would import a module that its author names."""
    for path in sorted(folder.rglob("features.json")):
        parts = [read_json(path, "delete the set there, and build it again")]
        while parts:
            part = parts.pop()
            parts += part.values() if isinstance(part, dict) else part if type(part) is list else ()
            named = part.get("pythonClassName") if isinstance(part, dict) else None
            module = str(named or "").rpartition(".")[0]
            own = f"{module}.".startswith("tensorflow_datasets.")
            if module and not own and module not in sys.modules:
                raise UserError(
                    f"{path}: must name features of tfds alone (got {named!r}), since it would be "
                    "imported; import its module in your config file if you trust it"
                )


def _build(builder: Any, own: str, path: str) -> None:
    """Builds a set beside and moves it into place, as tfds does."""
    import tensorflow_datasets as tfds

    folder = path or os.environ.get("DARKRANK_DATA") or None
    if own:
        # What is missing is said before tfds begins, and in our words.
        find_images(own, Path(folder or ""))
    config = tfds.download.DownloadConfig(manual_dir=folder)
    try:
        # It prints that it downloads something of unknown size.
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(download_config=config)
    except (ImportError, NotImplementedError, AssertionError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{builder.info.full_name}: cannot be built here ({reason}); build it where TensorFlow "
            'is, with file_format="array_record", and give data.options.data_dir'
        ) from error


def _warn_of_counts(name: str, listing: Listing) -> None:
    """Warns of a set that is not as large as its authors publish it."""
    for part, published in STANDARD_SETS[name].counts.items():
        labels = listing.labels[listing.parts == PARTS.index(part)]
        found = (len(labels), len(np.unique(labels)))
        if found != published:
            line = "%s: %s has %d images of %d classes, published are %d of %d; is all of it there?"
            logging.getLogger(__name__).warning(line, name, part, *found, *published)


def _list(builder: Any, *, own: bool) -> Listing:
    """Label and camera of every record; their images are read again when they are asked for."""
    import tensorflow_datasets as tfds

    image, label = builder.info.supervised_keys or ("image", "label")
    features = builder.info.features
    kinds = {image: tfds.features.Image, label: tfds.features.ClassLabel}
    if not all(name in features and isinstance(features[name], kinds[name]) for name in kinds):
        raise UserError(
            f"{builder.info.full_name}: has no image with a class label; its features are "
            f"{', '.join(features)}"
        )
    decoders = {image: tfds.decode.SkipDecoding()}
    try:
        sources: Any = {
            split: builder.as_data_source(split, decoders=decoders) for split in builder.info.splits
        }
    except NotImplementedError as error:
        raise UserError(
            f"{builder.data_path}: is no array_record; build it again with "
            'file_format="array_record"'
        ) from error

    where = Path(builder.data_path)

    def lines() -> Iterator[Line]:
        unlabelled = []
        for split, records in sources.items():
            for index, record in enumerate(records):
                if record[label] < 0:
                    unlabelled.append(f"{split}/{index}")
                    continue
                camera = int(record["camera"]) if own else -1
                yield Line(
                    f"{split}/{index}",
                    features[label].int2str(int(record[label])),
                    split if own else "",
                    "" if camera < 0 else str(camera),
                )
        warn_left_out(where, unlabelled, "images have no label and are left out")

    names = sorted(path.name for path in where.iterdir())
    _, found = listed_files(where, names, builder.info.full_name)
    read = partial(_read_record, sources, image, where)
    return gather(lines(), read=read, where=where, digest=found)


def _read_record(sources: dict[str, Any], image: str, where: Path, name: str) -> bytes:
    split, index = name.rsplit("/", 1)
    with _readable(where, name):
        return sources[split][int(index)][image]


@contextlib.contextmanager
def _readable(folder: Path, name: str) -> Iterator[None]:
    """Names what is damaged of a set that was built; tfds and its formats raise anything there."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{folder}: its {name} cannot be read ({reason}); delete the set there, and build it "
            "again"
        ) from error
