"""`--mode embed` and `--mode search`: a gallery of images, and the nearest of a query in it."""

import base64
import io
from pathlib import Path

import numpy as np

from darkrank_jax.data.pictures import decode, to_picture
from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.nearest_neighbors import nearest_neighbors
from darkrank_jax.evaluation.report.markup import Html, join, tag
from darkrank_jax.export.gallery import Gallery, read_gallery, write_gallery
from darkrank_jax.export.images_in import list_images
from darkrank_jax.export.loaded import LoadedRun, load_run

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
      images: see `list_images`.
      output: .npz, .parquet or .faiss.
      invert: see `LoadedRun.embed`.

    Raises:
      UserError: from any of these.
    """
    network = load_run(workdir)
    found = list_images(Path(images))
    shape = network.facts["image_shape"]
    size, grayscale = tuple(shape[:2]), shape[2] == 1
    pictures = (
        decode(found.read(name), name, size=size, grayscale=grayscale) for name in found.ids
    )
    vectors = network.embed(pictures, invert=invert)
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
    invert: bool = False,
) -> None:
    """Shows the images of a gallery that are nearest to a query.

    Args:
      workdir: of the run whose network embeds the query, or an exported file.
      query: an image.
      gallery: that `embed_images` wrote.
      output: .html for a page with the pictures; empty: a table is printed.
      nearest: how many to show.
      invert: of the query, see `LoadedRun.embed`.

    Raises:
      UserError: from any of these; or the gallery is of another network.
    """
    known = read_gallery(Path(gallery))
    network = load_run(workdir)
    _check_same(network, workdir, known, gallery)
    vector = network.embed(query, invert=invert)
    if not 1 <= nearest <= len(known.ids):
        raise UserError(f"--nearest: is {nearest}; the gallery has {len(known.ids)} images")
    distances, rows = nearest_neighbors(vector, known.vectors, k=nearest)
    lines: list[tuple[str, ...]] = [
        (str(rank + 1), f"{distance:.3f}", str(known.ids[row]), str(known.labels[row]))
        for rank, (distance, row) in enumerate(zip(distances[0], rows[0], strict=True))
    ]
    if output:
        _write_page(Path(output), Path(query), known, lines)
        print(f"Wrote {output}.")
        return
    heads = ("", "distance", "image", "label")
    widths = [max(len(line[i]) for line in (heads, *lines)) for i in range(len(heads))]
    for line in (heads, *lines):
        print("  ".join(map(str.ljust, line, widths)).rstrip())


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


def _write_page(path: Path, query: Path, gallery: Gallery, lines: list[tuple[str, ...]]) -> None:
    """A page with the query, and the nearest with their pictures."""
    found = list_images(Path(gallery.facts["place"]))
    gone = next((line[2] for line in lines if line[2] not in set(found.ids)), None)
    if gone is not None:
        raise UserError(
            f"{gallery.facts['place']}: has no {gone} any more; embed the images again, or leave "
            "out --output for a table without pictures"
        )
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
    body = join(
        [
            tag("h1", f"Nearest to {query.name}"),
            _picture(query.read_bytes(), query.name),
            tag("table", heads, *rows),
        ]
    )
    style = tag("style", Html(_STYLE))
    head = tag("head", Html('<meta charset="utf-8">'), tag("title", query.name), style)
    try:
        path.write_text(f"<!doctype html>\n{tag('html', head, tag('body', body), lang='en')}\n")
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); give another --output"
        ) from error


def _picture(file: bytes, name: str) -> Html:
    """An image in the page itself, so that the page needs nothing beside it."""
    picture = to_picture(decode(file, name, size=(_THUMBNAIL, _THUMBNAIL), grayscale=False))
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    coded = base64.b64encode(buffer.getvalue()).decode()
    return tag("img", src=f"data:image/png;base64,{coded}", alt=name)
