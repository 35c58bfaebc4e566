"""`--mode embed` and `--mode search`: a gallery of images, and the nearest of a query in it."""

import base64
import io
import itertools
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from darkrank_jax.data.files.archives import read_file
from darkrank_jax.data.loading.in_order import in_order
from darkrank_jax.data.pixels.pictures import decode, to_picture
from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.neighbors import nearest_neighbors
from darkrank_jax.evaluation.report.markup import Html, join, tag
from darkrank_jax.evaluation.report.page import (
    AFTER_A_SEARCH,
    Section,
    header_of,
    next_steps,
    write_page,
)
from darkrank_jax.files import remove_unfinished
from darkrank_jax.inference.approximate import (
    NEIGHBORS,
    check_kind,
    load_faiss,
    write_approximate,
)
from darkrank_jax.inference.gallery import Gallery, check_format, read_gallery, write_gallery
from darkrank_jax.inference.image_lists import ImagesIn, holds_several, list_images, place_of
from darkrank_jax.inference.load import LoadedRun, load_run
from darkrank_jax.inference.near_tables import SUFFIXES, Near, write_near
from darkrank_jax.terminal import aligned, printable

# Share of the images that may be unreadable, as in training; the first of these are named.
TOLERATED = 0.01
_MOST_FAULTS = 10
# Images that are prepared before the network asks for them.
_AHEAD = 64
_THUMBNAIL = 96


def embed_images(
    workdir: Path,
    *,
    images: str,
    output: str,
    append: bool = False,
    index: str = "",
    invert: bool = False,
    tolerated: float = TOLERATED,
) -> None:
    """Embeds the images of a folder, an archive or a table into a gallery.

    Args:
      workdir: of the run whose network embeds, or an exported file.
      images: a folder, a .zip or .tar, a .csv, .tsv or .parquet with columns `path` and `label`, or
        one image; or the workdir of a run, for the images that it was tested on.
      output: the gallery file to write: .npz, .parquet or .faiss.
      append: adds to the gallery at `output` those of the images that it lacks, by their names.
      index: "hnsw" or "ivf_pq" writes an approximate index for faiss besides, such as
        gallery.hnsw.faiss beside gallery.npz, and prints what share of the nearest it finds.
      invert: inverts the pixels: for images that are dark on light where the training images were
        light on dark.
      tolerated: refuses if more than this share of the images cannot be read; those that cannot
        are left out with a warning.

    Raises:
      UserError: from any of these; too many images cannot be read.
    """
    path = Path(output)
    check_format(path)
    if index:
        check_kind(index)
        load_faiss(path)
    network = load_run(workdir)
    found = list_images(Path(images))
    place = str(Path(images).absolute())
    known = _known(network, workdir, path, place) if append else None
    found = _without(found, known.ids.tolist()) if known else found
    if known and not found.ids:
        gallery = known
        print(f"{output} has all of the {len(known.ids):,} images already.")
    else:
        remove_unfinished(path.absolute().parent)
        rows, vectors = _embed(network, found, invert, tolerated)
        ids, labels = (np.array([column[row] for row in rows], str) for column in found[:2])
        new = Gallery(ids, labels, vectors, network.facts | {"place": place})
        gallery = _joined(known, new) if known else new
        write_gallery(gallery, path)
        added = f", {len(ids):,} of them new" if known else ""
        count, dim = gallery.vectors.shape
        print(f"Wrote {output}: {count:,} embeddings of {dim} numbers{added}.")
    if index:
        written = write_approximate(gallery.vectors, index, path.with_suffix(f".{index}.faiss"))
        print(
            f"Wrote {written.path}: of the nearest by exact search it finds {written.recall:.1%} "
            f"(recall@{NEIGHBORS})."
        )


def search(
    workdir: Path,
    *,
    query: str,
    gallery: str,
    output: str = "",
    nearest: int = 10,
    exclude_self: bool = False,
    invert: bool = False,
    tolerated: float = TOLERATED,
) -> None:
    """Shows the images of a gallery that are nearest to a query, or to each of several.

    Args:
      workdir: of the run whose network embeds the query, or an exported file.
      query: an image; or a folder, an archive or a table of them.
      gallery: the gallery file that --mode embed wrote.
      output: .html for a page with the pictures; .csv, .tsv or .parquet for a row each; empty:
        tables are printed.
      nearest: number of images to show for each query.
      exclude_self: leaves out the query where it is itself an image of the gallery.
      invert: of the queries; see --mode embed.
      tolerated: of the queries; see --mode embed.

    Raises:
      UserError: from any of these; or the gallery is of another network.
    """
    if output and Path(output).suffix not in (".html", *SUFFIXES):
        raise UserError(f"--output: must be .html, {', '.join(SUFFIXES)} (got {output})")
    known = _read_there(Path(gallery), "--gallery", "write it with --mode embed")
    network = load_run(workdir)
    _check_same(network, workdir, known, gallery)
    several = holds_several(Path(query))
    if several:
        found = list_images(Path(query), "--query")
    else:
        found = ImagesIn([str(Path(query))], [""], lambda _: read_file(Path(query)))
    if not 1 <= nearest <= len(known.ids) - exclude_self:
        other = " but the query" if exclude_self else ""
        most = len(known.ids) - exclude_self
        raise UserError(
            f"--nearest: must be from 1 to {most}, the images of the gallery{other} (got {nearest})"
        )
    queries, vectors = _embed(network, found, invert, tolerated)
    distances, rows = nearest_neighbors(vectors, known.vectors, k=nearest + exclude_self)
    own = place_of(Path(query) if several else Path(), found.ids)
    places = place_of(Path(known.facts["place"]), known.ids) if exclude_self else None
    tables = {}
    for number, near, at in zip(queries, distances, rows, strict=True):
        kept = [i for i, row in enumerate(at) if places is None or places[row] != own[number]]
        tables[found.ids[number]] = [
            Near(rank, float(near[i]), str(known.ids[at[i]]), str(known.labels[at[i]]), int(at[i]))
            for rank, i in enumerate(kept[:nearest], 1)
        ]
    if output:
        if Path(output).suffix == ".html":
            _write_page(Path(output), found, known, tables)
        else:
            write_near(Path(output), tables)
        print(f"Wrote {output}.")
        return
    print("\n\n".join(_table(name if len(tables) > 1 else "", x) for name, x in tables.items()))


def _embed(
    network: LoadedRun, found: ImagesIn, invert: bool, tolerated: float
) -> tuple[list[int], np.ndarray]:
    """Numbers of the images that can be read, and their embeddings; warns of the others."""
    if not 0 <= tolerated <= 1:
        raise UserError(f"--tolerated: must be a share from 0 to 1 (got {tolerated})")
    rows: list[int] = []
    faults: list[str] = []
    count = len(found.ids)

    height, width, channels = network.facts["image_shape"]

    def read(name: str) -> np.ndarray | UserError:
        try:
            # With its name, as an error of the file has to say which it is.
            file = found.read(name)
            picture = decode(file, name, size=(height, width), grayscale=channels == 1)
            return network.prepare(picture, invert=invert)
        except UserError as error:
            return error

    def readable() -> Iterator[np.ndarray]:
        with closing(in_order(read, found.ids, os.cpu_count() or 1, _AHEAD)) as images:
            for row, image in enumerate(images):
                if isinstance(image, UserError):
                    faults.append(str(image))
                    if len(faults) > tolerated * count or len(faults) == count:
                        raise _too_many(image, faults, count) from image
                else:
                    rows.append(row)
                    yield image

    vectors = network.embed(readable())
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if wrong.size:
        raise UserError(
            f"{found.ids[rows[wrong[0]]]}: its embedding is not finite; train the network again, "
            "or leave the image out"
        )
    if faults:
        log = logging.getLogger(__name__)
        log.warning("%d of %d images are left out, as they cannot be read:", len(faults), count)
        for fault in faults[:_MOST_FAULTS]:
            log.warning("  %s", fault)
    return rows, vectors


def _too_many(error: UserError, faults: list[str], count: int) -> UserError:
    """The error of more images that cannot be read than are tolerated."""
    if count == 1:
        return error
    return UserError(
        f"{error} ({len(faults)} of the first images of {count} cannot be read; --tolerated "
        "leaves out a larger share)"
    )


def _known(network: LoadedRun, workdir: Path, path: Path, place: str) -> Gallery:
    """The gallery that is added to, of the same network and images in the same place."""
    known = _read_there(path, "--output", "leave out --append to write a new gallery")
    own, other = network.facts["fingerprint"], known.facts["fingerprint"]
    if own != other:
        raise UserError(
            f"{path}: must be a gallery of {workdir} ({own}) to be added to (got one of "
            f"{known.facts['name']}, {other}); give another --output"
        )
    if known.facts["place"] != place:
        raise UserError(
            f"--images: must be {known.facts['place']} to add to {path} (got {place}); give "
            "another --output"
        )
    return known


def _read_there(path: Path, flag: str, advice: str) -> Gallery:
    """A gallery that a flag names, which must be there."""
    if not path.exists():
        raise UserError(f"{flag}: must be a gallery that exists (got {path}); {advice}")
    return read_gallery(path)


def _without(images: ImagesIn, known: Iterable[str]) -> ImagesIn:
    """Images less those of some names."""
    there = set(known)
    kept = [row for row, name in enumerate(images.ids) if name not in there]
    ids, labels = ([column[row] for row in kept] for column in images[:2])
    return images._replace(ids=ids, labels=labels)


def _joined(known: Gallery, new: Gallery) -> Gallery:
    """A gallery with further images at its end."""
    return Gallery(
        np.concatenate([known.ids, new.ids]),
        np.concatenate([known.labels, new.labels]),
        np.concatenate([known.vectors, new.vectors]),
        new.facts,
    )


def _table(name: str, found: Sequence[Near]) -> str:
    """What is near one query, as lines of equal columns."""
    heads = ("", "distance", "image", "label")
    rows = aligned(
        [heads]
        + [
            (str(near.rank), f"{near.distance:.3f}", printable(near.image), printable(near.label))
            for near in found
        ]
    )
    return f"{printable(name)}\n{rows}" if name else rows


def _check_same(network: LoadedRun, workdir: Path, gallery: Gallery, path: str) -> None:
    """Refuses a query that would be compared with another network's embeddings."""
    own, other = network.facts, gallery.facts
    if own["fingerprint"] == other["fingerprint"]:
        return
    if other["fingerprint"] in own["compatible_with"]:
        return
    raise UserError(
        f"{path}: was embedded by {other['name']} ({other['fingerprint']}), and {workdir} is "
        f"another network ({own['fingerprint']}); give that one, or embed the images again"
    )


def _write_page(
    path: Path, queries: ImagesIn, gallery: Gallery, tables: Mapping[str, Sequence[Near]]
) -> None:
    """A page with each query, and the nearest with their pictures."""
    place = gallery.facts["place"]
    found = list_images(Path(place), "the gallery's images")
    there = set(found.ids)
    for near in itertools.chain.from_iterable(tables.values()):
        if near.image not in there:
            raise UserError(
                f"{place}: has no {near.image} any more; embed the images again, or leave out "
                "--output for tables without pictures"
            )
    sections = [
        Section(
            printable(name),
            join([_picture(queries.read(name), name), _html_table(found, nearest)]),
        )
        for name, nearest in tables.items()
    ]
    count = len(next(iter(tables.values())))
    title = printable(next(iter(tables))) if len(tables) == 1 else f"{len(tables)} queries"
    facts = [f"gallery of {len(gallery.ids):,} images", gallery.facts["name"]]
    header = header_of("search", f"The {count} nearest images of {title}", facts)
    sections.append(Section("What next", next_steps(AFTER_A_SEARCH)))
    write_page(path, title, header, sections)


def _html_table(images: ImagesIn, found: Sequence[Near]) -> Html:
    """What is near one query, with pictures."""
    rows = [
        tag(
            "tr",
            tag("td", str(near.rank)),
            tag("td", f"{near.distance:.3f}"),
            tag("td", _picture(images.read(near.image), near.image), class_="words"),
            *(
                tag("td", tag("bdi", printable(text)), class_="words")
                for text in (near.image, near.label)
            ),
        )
        for near in found
    ]
    # Of words, as the cells below them, or of numbers.
    names = {"": None, "distance": None, "picture": "words", "image": "words", "label": "words"}
    heads = tag("tr", *(tag("th", name, scope="col", class_=kind) for name, kind in names.items()))
    return tag("div", tag("table", tag("thead", heads), tag("tbody", *rows)), class_="scroll")


def _picture(file: bytes, name: str) -> Html:
    """An image in the page itself, so that the page needs nothing beside it."""
    picture = to_picture(decode(file, name, size=(_THUMBNAIL, _THUMBNAIL), grayscale=False))
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    coded = base64.b64encode(buffer.getvalue()).decode()
    return tag("img", class_="found", src=f"data:image/png;base64,{coded}", alt=printable(name))
