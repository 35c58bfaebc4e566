"""`--mode embed` and `--mode search`: a gallery of images, and the nearest of a query in it."""

import base64
import io
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from darkrank_jax.data.archives import read_file
from darkrank_jax.data.pictures import decode, to_picture
from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.nearest_neighbors import nearest_neighbors
from darkrank_jax.evaluation.report.markup import Html, join, tag
from darkrank_jax.export.gallery import Gallery, read_gallery, write_gallery
from darkrank_jax.export.images_in import ImagesIn, list_images, place_of
from darkrank_jax.export.loaded import LoadedRun, load_run

# Rank, distance, name, label.
Line = tuple[str, str, str, str]
_THUMBNAIL = 96
_STYLE = """body{font:15px system-ui,sans-serif;margin:2rem;background:#fff;color:#222}
table{border-collapse:collapse}
td,th{padding:.4rem .8rem;text-align:left;border-bottom:1px solid #ddd}
img{image-rendering:pixelated;min-width:64px}
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}td,th{border-color:#444}}"""


def embed_images(workdir: Path, *, images: str, output: str, invert: bool = False) -> None:
    """Embeds the images of a folder, an archive or a table into a gallery.

    Args:
      workdir: of the run whose network embeds, or an exported file.
      images: a folder, a .zip or .tar, a .csv, .tsv or .parquet with columns `path` and `label`, or
        one image; or the workdir of a run, for the images that it was tested on.
      output: .npz, .parquet or .faiss.
      invert: white becomes black: for ink on paper, where the network knows chalk on slate.

    Raises:
      UserError: from any of these.
    """
    network = load_run(workdir)
    found = list_images(Path(images))
    vectors = network.embed(_pictures(network, found), invert=invert)
    facts = network.facts | {"place": str(Path(images).absolute())}
    gallery = Gallery(np.array(found.ids, str), np.array(found.labels, str), vectors, facts)
    write_gallery(gallery, Path(output))
    print(f"Wrote {output}: {len(vectors):,} embeddings of {vectors.shape[1]} numbers.")


def search(
    workdir: Path,
    *,
    query: str,
    gallery: str,
    output: str = "",
    nearest: int = 10,
    exclude_self: bool = False,
    invert: bool = False,
) -> None:
    """Shows the images of a gallery that are nearest to a query, or to each of a folder.

    Args:
      workdir: of the run whose network embeds the query, or an exported file.
      query: an image, or a folder of them.
      gallery: that --mode embed wrote.
      output: .html for a page with the pictures; empty: tables are printed.
      nearest: how many to show.
      exclude_self: leaves out the query where it is itself an image of the gallery.
      invert: of the queries; see --mode embed.

    Raises:
      UserError: from any of these; or the gallery is of another network.
    """
    known = read_gallery(Path(gallery))
    network = load_run(workdir)
    _check_same(network, workdir, known, gallery)
    found = _queries(Path(query))
    vectors = network.embed(_pictures(network, found), invert=invert)
    if not 1 <= nearest <= len(known.ids) - exclude_self:
        other = " but the query" if exclude_self else ""
        raise UserError(f"--nearest: is {nearest}; the gallery has {len(known.ids)} images{other}")
    distances, rows = nearest_neighbors(vectors, known.vectors, k=nearest + exclude_self)
    own = place_of(Path(query) if Path(query).is_dir() else Path(), found.ids)
    places = place_of(Path(known.facts["place"]), known.ids) if exclude_self else None
    tables = {}
    for name, place, near, at in zip(found.ids, own, distances, rows, strict=True):
        kept = [i for i, row in enumerate(at) if places is None or places[row] != place][:nearest]
        tables[name] = [
            (str(rank + 1), f"{near[i]:.3f}", str(known.ids[at[i]]), str(known.labels[at[i]]))
            for rank, i in enumerate(kept)
        ]
    if output:
        _write_page(Path(output), found, known, tables)
        print(f"Wrote {output}.")
        return
    print("\n\n".join(_table(name if len(tables) > 1 else "", x) for name, x in tables.items()))


def _queries(query: Path) -> ImagesIn:
    """The images of a folder, or a single file of whatever name."""
    if query.is_dir():
        return list_images(query)
    return ImagesIn([str(query)], [""], lambda _: read_file(query))


def _pictures(network: LoadedRun, found: ImagesIn) -> Iterator[np.ndarray]:
    """The images as the network takes them, one after the other."""
    height, width, channels = network.facts["image_shape"]
    for name in found.ids:
        size = (height, width)
        yield decode(found.read(name), name, size=size, grayscale=channels == 1)


def _table(name: str, lines: list[Line]) -> str:
    """What is near one query, as lines of equal columns."""
    heads = ("", "distance", "image", "label")
    widths = [max(len(line[i]) for line in (heads, *lines)) for i in range(len(heads))]
    rows = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in (heads, *lines)]
    return "\n".join([name, *rows] if name else rows)


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
    path: Path, queries: ImagesIn, gallery: Gallery, tables: Mapping[str, list[Line]]
) -> None:
    """A page with each query, and the nearest with their pictures."""
    place = gallery.facts["place"]
    found = list_images(Path(place))
    there = set(found.ids)
    for _, _, name, _ in itertools.chain.from_iterable(tables.values()):
        if name not in there:
            raise UserError(
                f"{place}: has no {name} any more; embed the images again, or leave out --output "
                "for tables without pictures"
            )
    sections = [
        section
        for name, lines in tables.items()
        for section in (
            tag("h1", f"Nearest to {name}"),
            _picture(queries.read(name), name),
            _html_table(found, lines),
        )
    ]
    title = next(iter(tables)) if len(tables) == 1 else f"{len(tables)} queries"
    style = tag("style", Html(_STYLE))
    head = tag("head", Html('<meta charset="utf-8">'), tag("title", title), style)
    body = tag("body", join(sections))
    try:
        path.write_text(f"<!doctype html>\n{tag('html', head, body, lang='en')}\n")
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); give another --output"
        ) from error


def _html_table(found: ImagesIn, lines: list[Line]) -> Html:
    """What is near one query, with pictures."""
    rows = [
        tag(
            "tr",
            *(tag("td", text) for text in (rank, distance)),
            tag("td", _picture(found.read(name), name)),
            *(tag("td", text) for text in (name, label)),
        )
        for rank, distance, name, label in lines
    ]
    heads = tag("tr", *(tag("th", text) for text in ("", "distance", "", "image", "label")))
    return tag("table", heads, *rows)


def _picture(file: bytes, name: str) -> Html:
    """An image in the page itself, so that the page needs nothing beside it."""
    picture = to_picture(decode(file, name, size=(_THUMBNAIL, _THUMBNAIL), grayscale=False))
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    coded = base64.b64encode(buffer.getvalue()).decode()
    return tag("img", src=f"data:image/png;base64,{coded}", alt=name)
