"""Embeds datasets with networks, from checkpoints or stored, and measures what they are worth."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from darkrank_jax.config.description import describe
from darkrank_jax.config.run import Evaluation, Run
from darkrank_jax.distributed.mesh import make_mesh
from darkrank_jax.distributed.processes import leads
from darkrank_jax.errors import UserError, nearest
from darkrank_jax.evaluation.image_digests import images_digest, same_digest
from darkrank_jax.evaluation.report import Measured, view, write_report
from darkrank_jax.evaluation.stored import (
    StoredEmbeddings,
    read_stored,
    same_images,
    write_images,
    write_stored,
)
from darkrank_jax.files import make_folder
from darkrank_jax.runs.datasets import (
    DatasetSource,
    Distractors,
    check_queries,
    datasets_of,
    embed_dataset,
    find_distractors,
    is_stored,
)
from darkrank_jax.runs.results import SCHEMA, costs, measure, table, write_results
from darkrank_jax.runs.roles import load, roles_of
from darkrank_jax.runs.splits import Splits
from darkrank_jax.training.network import Embedder, load_network
from darkrank_jax.training.provenance import input_digests, teacher_digest
from darkrank_jax.workdir.metrics_log import read_log
from darkrank_jax.workdir.recorded import as_recorded, whole_run
from darkrank_jax.workdir.run_file import check_same, recorded_run

# A network is a checkpoint on the devices, or the file of its embeddings for each dataset.
Networks = Mapping[str, Embedder | Mapping[str, Path]]


def evaluate_and_report(run: Run | None, workdir: Path) -> Path:
    """Evaluates a finished run again, or what the config's `evaluation` names, and reports.

    By default those are the networks of a finished run on its test split, whose results and report
    are replaced; anything else goes to `workdir / "evaluation"`.

    Args:
      run: read from a config, of which only what is measured must be that of the workdir; None:
        the run as the workdir has it.
      workdir: that `train_and_report` wrote, unless the config names other networks.

    Returns:
      The folder of results.json and report.html.

    Raises:
      UserError: a network, a dataset or a file of embeddings is not there, or does not fit.
    """
    run, splits = run or whole_run(workdir), Splits()
    mesh = make_mesh(run.data.batch_size)
    chosen, datasets = run.evaluation, datasets_of(run.evaluation, run.data)
    if chosen.networks:
        networks = networks_of(chosen.networks, datasets, mesh)
    else:
        advice = "leave out --config, or give its own; another dataset goes to evaluation.datasets"
        run = as_recorded(workdir, run, advice)
        parts = roles_of(run, workdir).items()
        networks = {name: load(part, splits, path, mesh) for name, (part, path) in parts}
        teacher = teacher_digest(run.teacher, workdir / "teacher")
        digests = input_digests(splits[run.data], teacher)
        check_same(workdir, describe(run), advice, digests=digests)
    target = workdir if chosen.of_the_run_itself() else workdir / "evaluation"
    check_queries(chosen, datasets, splits)
    distractors = find_distractors(chosen, run.data, splits)
    report(
        target, workdir.name, networks, datasets, splits, mesh, chosen, distractors, seed=run.seed
    )
    return target


def networks_of(
    places: Mapping[str, Any], datasets: Mapping[str, DatasetSource], mesh: Mesh
) -> Networks:
    """Loads the networks that a run's config names for evaluation.

    Args:
      places: workdir, or files of embeddings, of each network by name.
      datasets: that they are evaluated on.
      mesh: the devices.

    Returns:
      Networks by name.

    Raises:
      UserError: a checkpoint is not there, or a dataset has no file of embeddings.
    """
    networks: dict[str, Embedder | Mapping[str, Path]] = {}
    for name, place in places.items():
        if is_stored(place):
            networks[name] = _files(name, place, datasets)
        else:
            networks[name] = load_network(recorded_run(Path(place)), Path(place), mesh)
    return networks


def evaluate(
    name: str,
    networks: Networks,
    datasets: Mapping[str, DatasetSource],
    splits: Splits,
    mesh: Mesh,
    *,
    seed: int,
    protocols: Mapping[str, Mapping[str, Any]] | None = None,
    distractors: Distractors | None = None,
) -> tuple[dict[str, Any], dict[str, Measured]]:
    """Measures each network on each dataset.

    Args:
      name: of the results.
      networks: by the part each plays: "teacher", "baseline", or a student's name.
      datasets: by name; the first is what results.json holds under "dataset".
      splits: of the datasets.
      mesh: the devices.
      seed: of intervals and of what the report draws at random.
      protocols: options by name in PROTOCOLS.
      distractors: further images of every gallery, which are never right.

    Returns:
      What results.json holds, and what the report shows, dataset by dataset.

    Raises:
      UserError: images that a network does not take, or stored embeddings of other images.
    """
    facts, rows, measured, fixed = {}, {}, {}, {}
    further = distractors.embed(networks, splits, mesh) if distractors else None
    for dataset, source in datasets.items():
        images, embeddings = _embedded(networks, dataset, source, splits, mesh)
        rows[dataset], values = measure(
            embeddings,
            images.labels,
            seed=seed,
            cameras=images.cameras,
            queries=images.queries,
            protocols=protocols,
            distractors=further,
        )
        measured[dataset] = images._replace(embeddings=embeddings, values=values)
        facts[dataset] = _facts(dataset, source, images)
        if distractors:
            facts[dataset]["distractors"] = distractors.facts
        if not fixed and images.images is not None:
            checkpoints = {n: each for n, each in networks.items() if isinstance(each, Embedder)}
            fixed = {n: costs(each, images.images, mesh) for n, each in checkpoints.items()}
    first, *others = datasets
    results = {
        "schema": SCHEMA,
        "name": name,
        "seed": seed,
        "dataset": facts[first],
        "devices": f"{mesh.size} x {jax.devices()[0].device_kind}",
        "networks": {n: fixed.get(n, {}) | row for n, row in rows[first].items()},
    }
    if others:
        results["further_datasets"] = {
            other: {"dataset": facts[other], "networks": rows[other]} for other in others
        }
    return results, measured


def save_embeddings(folder: Path, measured: Mapping[str, Measured]) -> None:
    """Writes DATASET/NETWORK.npz, and once the images of a dataset that is held in memory.

    Args:
      folder: takes a folder for each dataset.
      measured: what an evaluation found.

    Raises:
      UserError: a file cannot be written.
    """
    for dataset, images in measured.items():
        for network, embeddings in images.embeddings.items():
            path = folder / dataset / f"{network}.npz"
            write_stored(
                path,
                embeddings,
                images.labels,
                images.class_names,
                cameras=images.cameras,
                queries=images.queries,
                digest=images.digest,
            )
        # Files are many and large, and stay where they are.
        if images.images is not None and images.images.in_memory:
            write_images(folder / dataset, images.images[:])


def measured_of(stored: StoredEmbeddings) -> Measured:
    """The images of stored embeddings, nothing measured yet."""
    return Measured(
        stored.labels,
        stored.class_names,
        {},
        {},
        stored.images,
        stored.cameras,
        stored.queries,
        stored.digest,
    )


def _files(name: str, place: Any, datasets: Mapping[str, DatasetSource]) -> dict[str, Path]:
    """The file of a network's embeddings for each dataset."""
    where = f"evaluation.networks.{name}"
    if not isinstance(place, Mapping):
        if len(datasets) > 1:
            raise UserError(
                f"{where}: one file for {len(datasets)} datasets; give {{dataset: file}} for "
                f"{', '.join(datasets)}"
            )
        return dict.fromkeys(datasets, Path(place))
    for dataset in place:
        if dataset not in datasets:
            raise UserError(f"{where}: no dataset {dataset!r}; {nearest(dataset, datasets)}")
    for dataset in datasets:
        if dataset not in place:
            raise UserError(f"{where}: has no file for the dataset {dataset!r}; give one")
    return {dataset: Path(file) for dataset, file in place.items()}


def _embedded(
    networks: Networks, dataset: str, source: DatasetSource, splits: Splits, mesh: Mesh
) -> tuple[Measured, dict[str, np.ndarray]]:
    """The images of a dataset, and every network's embeddings of them."""
    images = _images(networks, dataset, source, splits)
    embeddings = {}
    for name, network in networks.items():
        if isinstance(network, Embedder):
            embeddings[name] = embed_dataset(name, network, dataset, source, splits, mesh)
            continue
        stored = read_stored(network[dataset])
        if not same_images(stored.labels, images.labels):
            raise UserError(
                f"{network[dataset]}: its {len(stored.labels)} labels are not those of the "
                f"{len(images.labels)} images of {dataset!r}; embed the same images in their order"
            )
        if same_digest(stored.digest, images.digest) is False:
            raise UserError(
                f"{network[dataset]}: is of other images than {dataset!r}, though their labels are "
                "alike; embed the same images"
            )
        embeddings[name] = stored.embeddings
    return images, embeddings


def _images(networks: Networks, dataset: str, source: DatasetSource, splits: Splits) -> Measured:
    """Labels, class names and images of a dataset, nothing measured yet."""
    if source.data is not None:
        split = splits[source.data].get(source.split)
        if split is None or not split.class_names:
            raise UserError(
                f"evaluation: the images of {dataset!r} have no labels to measure by; name images "
                'with labels, evaluation.datasets = {"name": {"source": ..., "path": ...}}'
            )
        return Measured(
            split.labels,
            split.class_names,
            {},
            {},
            split.images,
            split.cameras,
            split.queries,
            images_digest(split),
        )
    (first, *_) = (network for network in networks.values() if not isinstance(network, Embedder))
    return measured_of(read_stored(first[dataset]))


def _facts(name: str, source: DatasetSource, images: Measured) -> dict[str, Any]:
    """What results.json says of a dataset."""
    return {
        "name": name,
        "source": source.data.source if source.data else "stored embeddings",
        "split": source.split,
        "images": len(images.labels),
        "classes": len(np.unique(images.labels)),
        "queries": int(np.sum(images.searching())),
        "queries_alone": int(np.sum(images.searching() & ~images.matched())),
        "digest": images.digest,
    }


def report(
    target: Path,
    name: str,
    networks: Networks,
    datasets: Mapping[str, DatasetSource],
    splits: Splits,
    mesh: Mesh,
    chosen: Evaluation,
    distractors: Distractors | None = None,
    *,
    seed: int,
) -> None:
    """Evaluates, writes results.json, report.html and embeddings, and prints the tables.

    Args:
      target: takes the files.
      name: of the results.
      networks: to measure.
      datasets: to measure them on.
      splits: of the datasets.
      mesh: the devices.
      chosen: its protocols are measured, too, and it says whether to write embeddings.
      distractors: of every gallery.
      seed: of intervals and of what the report draws at random.

    Raises:
      UserError: from the networks and datasets, or a file cannot be written.
    """
    results, measured = evaluate(
        name,
        networks,
        datasets,
        splits,
        mesh,
        seed=seed,
        protocols=chosen.protocols,
        distractors=distractors,
    )
    if not leads():
        return
    make_folder(target)
    if chosen.save_embeddings:
        save_embeddings(target / "embeddings", measured)
    trained = {part: each for part, each in networks.items() if isinstance(each, Embedder)}
    curves = {part: read_log(each.workdir) for part, each in trained.items()}
    write_report(target / "report.html", results, measured=measured, curves=curves)
    # Last, since it is what says that the run is done.
    write_results(target / "results.json", results)
    for index, dataset in enumerate(datasets):
        rows = view(results, dataset if index else None)["networks"]
        print(f"\n{dataset}\n{table(rows)}")
    print(f"\nWrote {target / 'results.json'} and {target / 'report.html'}.")
