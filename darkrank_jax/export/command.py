"""`--mode export`: writes a network in several formats, and keeps what proves to be right."""

import contextlib
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from darkrank_jax.errors import UserError, nearest
from darkrank_jax.export.card import write_card, write_preprocess
from darkrank_jax.export.deviation import fault, measure_export
from darkrank_jax.export.formats import FORMATS, LOADERS
from darkrank_jax.export.source import ExportSource, load_source
from darkrank_jax.extras import install, missing
from darkrank_jax.files import remove_unfinished, replacing, scratch
from darkrank_jax.runs.results import read_results
from darkrank_jax.runs.splits import Splits

# Held images that an export is compared on.
_HELD = 2048


def export_run(
    workdir: Path,
    *,
    formats: str = "",
    output: str = "",
) -> None:
    """Exports the network of a workdir; loads each file again and compares it with the model.

    Args:
      workdir: of a run, or the `teacher` or `baseline` in it.
      formats: stablehlo, onnx, safetensors, stablehlo_int8 or onnx_int8, several with commas
        between; empty: all that can be written with what is installed.
      output: folder for the files, model_card.md and preprocess.py; empty: WORKDIR/export.

    Raises:
      UserError: nothing was trained there, its results.json is damaged, the folder cannot be
        written, or an export is beyond the tolerance, in which case an earlier file of its name
        stays.
    """
    names = format_names(formats)
    source = load_source(workdir)
    finished = workdir / "results.json"
    results = read_results(finished) if finished.exists() else {}
    splits = Splits()[source.network.run.data]
    # Images without labels have none to test on.
    use = "test" if "test" in splits else "validation"
    split = splits[use]
    held, labels = split.images[:_HELD], split.labels[:_HELD] if split.class_names else None
    print(f"Compared on {len(held):,} of the {len(split.labels):,} images of the {use} split:")
    folder = Path(output) if output else workdir / "export"
    remove_unfinished(folder)
    # Whether it can be written is known before the first format is made.
    with scratch(folder):
        pass
    call = jax.jit(source.embed)
    expected, model = measure_export(lambda images: np.asarray(call(images)), held, labels)
    model["megabytes"] = 4e-6 * source.network.num_parameters()
    rows, faults = {"the model (JAX)": model}, {}
    for name in names:
        rows[FORMATS[name].file], faults[name] = _export(
            source, name, folder, (held, labels, expected), model["recall_at_1"]
        )
        print(_line(FORMATS[name].file, rows[FORMATS[name].file], faults[name]), flush=True)
    faults = {name: what for name, what in faults.items() if what}
    wrong = {FORMATS[name].file for name in faults}
    kept = {name: row for name, row in rows.items() if name not in wrong}
    write_preprocess(folder / "preprocess.py", source.facts)
    write_card(folder / "model_card.md", source, workdir, kept, len(held), results)
    print(f"\nWrote {folder / 'model_card.md'} and {folder / 'preprocess.py'}.")
    if faults:
        listed = "; ".join(f"{FORMATS[name].file} {what}" for name, what in faults.items())
        rest = ",".join(name for name in names if name not in faults) or "another"
        raise UserError(f"{listed}; not written. The other files are right: --formats={rest}")


def format_names(formats: str) -> list[str]:
    """The formats asked for, all of which can be written here."""
    if not formats:
        return _possible()
    names = [name.strip() for name in formats.split(",") if name.strip()]
    if not names:
        raise UserError(f"--formats: must not be empty; valid: {', '.join(FORMATS)}")
    for name in names:
        if name not in FORMATS:
            raise UserError(f"--formats: unknown name {name!r}; {nearest(name, FORMATS)}")
        if lacking := missing(FORMATS[name].modules):
            raise UserError(
                f"--formats: {name} needs {' and '.join(lacking)}; run `{install(lacking)}`, or "
                "leave out --formats for what can be written here"
            )
    return names


def _possible() -> list[str]:
    """The formats that can be written here; of the others it is said why not."""
    for kind in FORMATS.values():
        if lacking := missing(kind.modules):
            needs = f"needs {' and '.join(lacking)}: {install(lacking)}"
            print(f"{kind.file:<21} left out, {needs}", flush=True)
    return [name for name in FORMATS if not missing(FORMATS[name].modules)]


def _export(
    source: ExportSource,
    name: str,
    folder: Path,
    held: tuple[np.ndarray, np.ndarray | None, np.ndarray],
    recall_of_model: float,
) -> tuple[dict[str, Any], str]:
    """Writes, loads and measures one file, and keeps it if it is right; what is wrong, if not."""
    kind = FORMATS[name]
    images, labels, expected = held
    with scratch(folder) as unproven:
        path = unproven / kind.file
        kind.write(source, path)
        _, embed = LOADERS[path.suffix](path)
        _, measured = measure_export(embed, images, labels, expected)
        measured["megabytes"] = path.stat().st_size / 1e6
        what = fault(measured, recall_of_model, exact=kind.exact)
        if not what:
            _keep(unproven, folder)
        return measured, what


def _keep(unproven: Path, folder: Path) -> None:
    """Moves the files of a format into a folder; all are whole before the first is replaced."""
    with contextlib.ExitStack() as stack:
        for file in sorted(unproven.iterdir()):
            os.replace(file, stack.enter_context(replacing(folder / file.name)))


def _line(file: str, row: dict[str, Any], what: str) -> str:
    """What came of one file, for a terminal."""
    said = f"but {what}; not written" if what else "as the model"
    return (
        f"{file:<21} {row['megabytes']:7.2f} MB  Recall@1 {row['recall_at_1']:.3f}  "
        f"cosine {row['mean_cosine']:.5f}  {row['milliseconds']:.2f} ms an image  "
        f"{row['images_per_second']:,.0f} images/s  {said}"
    )
