"""Labels that may not mean a class: left out on request, or reported."""

import logging
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from darkrank_jax.data.files.listing import Line, Listing, clean
from darkrank_jax.data.files.parts import PARTS
from darkrank_jax.errors import UserError
from darkrank_jax.terminal import printable

# Market-1501's identities for images that are ignored, and for distractors.
_JUNK, _DISTRACTORS = "-1", ("0", "0000")


def without_labels(
    path: Path, lines: Iterable[Line], ignored: Sequence[str | int]
) -> Iterator[Line]:
    """The lines whose label is not ignored; reports how many are.

    Args:
      path: of the source, for the report.
      lines: of its images.
      ignored: labels.

    Raises:
      UserError: no image has an ignored label.

    Example:
      >>> lines = [Line("1.png", "cat"), Line("2.png", "-1")]
      >>> [line.label for line in without_labels(Path("t.csv"), lines, (-1,))]
      ['cat']
    """
    counts = {clean(str(label)): 0 for label in ignored}
    for line in lines:
        if line.label in counts:
            counts[line.label] += 1
        else:
            yield line
    for label, count in counts.items():
        if not count:
            raise UserError(
                f"data.options.ignored_labels: no image of {path} has the label {label!r}; leave "
                "it out"
            )
        line = "%s: %d images of the ignored label %s are left out"
        logging.getLogger(__name__).warning(line, path, count, printable(label))


def warn_of_labels(path: Path, listing: Listing) -> None:
    """Warns of labels that differ in case or spaces alone, and of Market-1501's -1 and 0.

    Args:
      path: of the source.
      listing: of it.
    """
    log = logging.getLogger(__name__)
    names: dict[str, str] = {}
    alike = [(names.setdefault(_plain(name), name), name) for name in listing.class_names]
    pairs = [pair for pair in alike if pair[0] != pair[1]]
    if pairs:
        first = tuple(map(printable, pairs[0]))
        line = "%s: %d classes differ from another in case or spaces alone; first %r and %r"
        log.warning(line, path, len(pairs), *first)
    numbers = {name: number for number, name in enumerate(listing.class_names)}
    if _JUNK in numbers:
        line = (
            "%s: the label -1 is a class of %d images like any other; if it marks images to "
            'ignore, give data.options.ignored_labels=("-1",)'
        )
        log.warning(line, path, (listing.labels == numbers[_JUNK]).sum())
    query, gallery = (listing.parts == PARTS.index(part) for part in ("query", "gallery"))
    for name in _DISTRACTORS:
        of_label = listing.labels == numbers.get(name, -1)
        count = (gallery & of_label).sum()
        if count and query.any() and not (query & of_label).any():
            line = "%s: no query has the label %s, so that its %d gallery images match nobody"
            log.warning(line, path, name, count)


def _plain(name: str) -> str:
    """A name without what is hard to see: case, spaces, invisible characters."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(c for c in folded if not c.isspace() and unicodedata.category(c) != "Cf")
