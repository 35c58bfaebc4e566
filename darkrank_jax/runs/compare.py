"""Several finished runs on one page: what each left behind, and whether they can be compared."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.image_digests import same_digest
from darkrank_jax.evaluation.report import Measured, view
from darkrank_jax.evaluation.report.comparison import (
    NOT_KNOWN,
    NOT_STORED,
    combine,
    comparison_table,
    unknown_images,
    write_comparison,
)
from darkrank_jax.evaluation.stored import read_stored, same_images
from darkrank_jax.runs.evaluate import measured_of
from darkrank_jax.runs.finished import check_finished
from darkrank_jax.runs.results import differences, protocol_tables, read_results, values_of
from darkrank_jax.workdir.metrics_log import read_log
from darkrank_jax.workdir.run_file import is_workdir, read_facts

_KS = (1, 2, 4, 8)


def compare_and_report(runs: Sequence[Path], workdir: Path) -> None:
    """Makes one page out of several finished runs.

    Args:
      runs: workdirs that hold a results.json.
      workdir: takes report.html.

    Raises:
      UserError: a run is not finished, or they were measured on different images.
    """
    print(compare(runs, workdir / "report.html"))
    print(f"\nWrote {workdir / 'report.html'}.")


def compare(paths: Sequence[Path], page: Path) -> str:
    """Writes one page on several runs.

    Args:
      paths: workdirs of finished runs; the first is what the others are compared with.
      page: the file to write; its folder is made.

    Returns:
      A table for a terminal.

    Raises:
      UserError: fewer than two runs, one that is not finished or of another version of
        results.json, or runs that were measured on different images.
    """
    check_finished(paths)
    names = _names(paths)
    runs = {name: read_results(path / "results.json") for name, path in names.items()}
    datasets = _datasets(runs, names)
    combined = {
        dataset: combine({name: view(each, further[name]) for name, each in runs.items()})
        for dataset, further in datasets.items()
    }
    measured = {
        dataset: found
        for dataset in datasets
        if (found := measured_dataset(dataset, names, combined[dataset])) is not None
    }
    for dataset, images in measured.items():
        _add_differences(combined[dataset], images)
    first = next(iter(combined))
    curves = {
        shown: rows
        for shown, row in combined[first]["networks"].items()
        if (rows := read_log(_trained(names[row["run"]], row["part"])))
    }
    write_comparison(page, page.parent.name, combined, measured=measured, curves=curves)
    networks, warning = combined[first]["networks"], unknown_images(combined[first])
    shown = [comparison_table(networks), *protocol_tables(networks)]
    return "\n\n".join([*shown, *filter(None, [warning])])


def _names(paths: Sequence[Path]) -> dict[str, Path]:
    """A name for each run: as many of the last parts of its path as tell the runs apart."""
    parts = [path.resolve().parts for path in paths]
    for count in range(1, 1 + max(map(len, parts))):
        names = ["/".join(each[-count:]) for each in parts]
        if len(set(names)) == len(names):
            return dict(zip(names, paths, strict=True))
    raise UserError("--mode compare: names one run twice; give each once")


def _datasets(
    runs: dict[str, dict[str, Any]], paths: dict[str, Path]
) -> dict[str, dict[str, str | None]]:
    """The datasets of the first run, and what each run calls each of them."""
    first, *others = runs
    shared: dict[str, dict[str, str | None]] = {}
    for dataset, own in _facts(runs[first]).items():
        wanted = view(runs[first], own)["dataset"]
        found: dict[str, str | None] = {first: own}
        for other in others:
            theirs = _facts(runs[other])
            if dataset in theirs and _alike(wanted, view(runs[other], theirs[dataset])["dataset"]):
                found[other] = theirs[dataset]
        if len(found) == len(runs):
            shared[dataset] = found
    if not shared:
        wanted = runs[first]["dataset"]
        other = next(name for name in others if not _alike(wanted, runs[name]["dataset"]))
        raise UserError(_apart(paths[first], runs[first], paths[other], runs[other]))
    return shared


def _alike(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether two records of a dataset may be of the same images."""
    digests = [dataset.get("digest") for dataset in (first, second)]
    rest = [
        {key: dataset[key] for key in dataset if key != "digest"} for dataset in (first, second)
    ]
    return rest[0] == rest[1] and same_digest(*digests) is not False


def _apart(first_path: Path, first: dict[str, Any], other_path: Path, other: dict[str, Any]) -> str:
    """Why two runs cannot be compared."""
    shown, others = _shown(first), _shown(other)
    if shown == others:
        return (
            f"{other_path}: was measured on other images of {others} than {first_path}, whose "
            "classes, files, pixels or order differ; compare runs on the same images"
        )
    return (
        f"{other_path}: was measured on {others}, {first_path} on {shown}; compare runs on the "
        "same images"
    )


def _facts(results: dict[str, Any]) -> dict[str, str | None]:
    """The names of a run's datasets, and where each stands in its results."""
    further = results.get("further_datasets", {})
    return {results["dataset"]["name"]: None} | {name: name for name in further}


def _shown(results: dict[str, Any]) -> str:
    """A dataset in words."""
    dataset = results["dataset"]
    further = dataset.get("distractors", {}).get("images", 0)
    beside = f" and {further} distractors" if further else ""
    return f"{dataset['name']!r} ({dataset['source']}, {dataset['images']} images{beside})"


def measured_dataset(
    dataset: str, paths: dict[str, Path], combined: dict[str, Any]
) -> Measured | None:
    """What the runs stored of a dataset, of the images of the first that stored anything.

    The row of a network that is left out says why, as "unpaired".
    """
    found, owner = None, ""
    for name, row in combined["networks"].items():
        file = paths[row["run"]] / "embeddings" / dataset / f"{row['part']}.npz"
        if not file.exists():
            row["unpaired"] = NOT_STORED
            continue
        stored = read_stored(file)
        if found is None:
            found, owner = measured_of(stored), row["run"]
        alike = same_digest(stored.digest, found.digest)
        if alike is False or not same_images(stored.labels, found.labels):
            raise UserError(
                f"{file}: is of other images than the embeddings of {paths[owner]}; compare runs "
                "on the same images"
            )
        if alike is None and row["run"] != owner:
            row["unpaired"] = NOT_KNOWN
            continue
        found.embeddings[name] = stored.embeddings
        found.values[name] = values_of(stored.embeddings, found.labels, found.queries, ks=_KS)
    return found


def _add_differences(combined: dict[str, Any], measured: Measured) -> None:
    """Enters the paired difference of each network from the reference where both are stored."""
    reference = combined["reference"]
    for name, row in combined["networks"].items():
        if name != reference and {name, reference} <= measured.values.keys():
            row["difference"] = differences(
                measured.values[name], measured.values[reference], combined["seed"]
            )


def _trained(workdir: Path, part: str) -> Path:
    """Where a part of a run was trained, which a teacher may have been elsewhere."""
    if part == "teacher" and is_workdir(workdir):
        elsewhere = read_facts(workdir)["run"]["teacher"].get("checkpoint")
        return Path(elsewhere or workdir / part)
    return workdir / part if part in ("teacher", "baseline") else workdir
