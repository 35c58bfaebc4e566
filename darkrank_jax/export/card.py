"""model_card.md: what a stranger must know of a network before using it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from darkrank_jax.export import preprocess
from darkrank_jax.export.deviation import BATCH
from darkrank_jax.export.source import ExportSource
from darkrank_jax.files import write_text
from darkrank_jax.terminal import printable
from darkrank_jax.version import __version__
from darkrank_jax.workdir.run_file import read_facts

_CARD = """---
library_name: darkrank_jax
pipeline_tag: image-feature-extraction
license: # of this model: fill in
tags: [metric-learning, image-retrieval, knowledge-distillation]
---

# {name}

{architecture} of {parameters:,} parameters that turns an image of {height} x {width} pixels and
{channels} into {dim} numbers, near each other where images are alike. Written by
darkrank_jax {version}; fingerprint `{fingerprint}`.

## Use

Files take uint8 images {shape} and do the rest of the preprocessing
(division by 255, mean {mean}, standard deviation {std}) themselves. Before that,
{cut}, and resized with antialiasing. `preprocess.py` beside them does exactly
that to a picture's file, with Pillow, NumPy and OpenCV alone; with this package,

    import darkrank_jax
    embeddings = darkrank_jax.load_run("{example}").embed(["image.png"])

## Training

| | |
|---|---|
| data | {source}, options {options}: classes of the training split; those below were held out |
| licence of the data | fill in |
| teacher | {teacher} |
| losses | {losses} |
| steps | {steps:,} of {batch_size} images, {optimizer}, learning rate {learning_rate:g} |
| checkpoint | step {best_step:,}, the best by validation |
| seed | {seed} |

## Results

Of files: on {held:,} images of classes that it was not trained on, each of which searches the other
{searched:,}; time on the machine that exported it.

| | MB | Recall@1 | mean cosine | largest difference | ms, one image | images/s, {batch} at once |
|---|---|---|---|---|---|---|
{rows}
{others}
## Limits

- It was trained on the data above. Images of another kind (other objects, other ink, other cameras)
  may be embedded arbitrarily; measure Recall@1 on images of your own first.
- Distances rank; they are no probability, and no threshold on them was calibrated.
- Embeddings of another fingerprint are not comparable with these.
- Who is in the training data, and what may be done with them, is stated by the data's licence.
"""


def write_card(
    path: Path,
    source: ExportSource,
    workdir: Path,
    rows: Mapping[str, Mapping[str, Any]],
    held: int,
    results: Mapping[str, Any],
) -> None:
    """Writes the model card of an export; fields that only a person knows say "fill in".

    Args:
      path: of the card.
      source: the network.
      workdir: where it was trained.
      rows: what was measured of the model, and of each file by its name.
      held: images that it was measured on.
      results: of the run, as results.json has them; empty where it has none.
    """
    network, facts = source
    run = network.run
    height, width, channels = facts["image_shape"]
    described = read_facts(workdir)["run"]
    write_text(
        path,
        _CARD.format(
            name=facts["name"],
            architecture=facts["model"]["name"],
            parameters=network.num_parameters(),
            height=height,
            width=width,
            channels="1 channel" if channels == 1 else f"{channels} channels",
            dim=facts["embedding_dim"],
            version=__version__,
            fingerprint=facts["fingerprint"],
            mean=facts["mean"],
            std=facts["std"],
            shape=f"[batch, {height}, {width}, {channels}]",
            cut=cut_in_words(facts["center_crop"]),
            example=next((name for name in rows if name.startswith("model")), str(workdir)),
            source=run.data.source,
            options=json.dumps(run.data.options),
            teacher=_teacher(described["teacher"]),
            losses="; ".join(f"{name} {json.dumps(loss)}" for name, loss in run.losses.items()),
            steps=run.steps,
            batch_size=run.data.batch_size,
            optimizer=run.optimizer["name"],
            learning_rate=run.learning_rate,
            best_step=network.step,
            seed=run.seed,
            held=held,
            searched=held - 1,
            batch=BATCH,
            rows="\n".join(_row(name, row) for name, row in rows.items()),
            others=_others(results) if results else "",
        ),
    )


def write_preprocess(path: Path, facts: Mapping[str, Any]) -> None:
    """Writes the script that makes the network's input of a picture's file.

    Args:
      path: of the script.
      facts: "image_shape" and "center_crop" count.
    """
    height, width, channels = facts["image_shape"]
    mode = "L" if channels == 1 else "RGB"
    own = f'HEIGHT, WIDTH, MODE, SHARE = {height}, {width}, "{mode}", {facts["center_crop"]}'
    text = Path(preprocess.__file__).read_text(encoding="utf-8")
    write_text(path, re.sub(r"^HEIGHT, WIDTH, MODE, SHARE = .*$", own, text, flags=re.MULTILINE))


def cut_in_words(share: float) -> str:
    """What becomes of an image before it is resized; see `center_crop`."""
    if share <= 0:
        return "an image is taken whole, whatever its shape"
    part = "the largest middle part of that shape"
    return (
        f"an image is cut to {part}" if share == 1 else f"an image is cut to {share:.3g} of {part}"
    )


def _teacher(described: Mapping[str, Any] | None) -> str:
    """A teacher in half a line."""
    if not described:
        return "none"
    if described["ensemble"]:
        members = ", ".join(_teacher(member) for member in described["ensemble"].values())
        return f"{described['combine']} of {members}"
    if described["embeddings"]:
        return f"embeddings computed elsewhere, `{Path(described['embeddings']).name}`"
    origin = described["checkpoint"] or described["weights"]["path"]
    return described["model"]["name"] + (f" of `{origin}`" if origin else ", trained first")


def _row(name: str, row: Mapping[str, Any]) -> str:
    """One line of the table."""
    near = ["", ""]
    if "mean_cosine" in row:
        near = [f"{row['mean_cosine']:.5f}", f"{row['max_difference']:.1e}"]
    speed = [f"{row['milliseconds']:.2f}", f"{row['images_per_second']:,.0f}"]
    cells = [name, f"{row['megabytes']:.2f}", f"{row['recall_at_1']:.3f}", *near, *speed]
    return f"| {' | '.join(cells)} |"


def _others(results: Mapping[str, Any]) -> str:
    """What the run's own results say of all its networks, on the whole split."""
    lines = [
        f"| {printable(name)} | {row.get('parameters', 0):,} | "
        f"{row['metrics']['recall_at_1']:.3f} | {row['metrics']['map_at_r']:.3f} |"
        for name, row in results["networks"].items()
    ]
    images = results["dataset"]["images"]
    head = (
        f"\nOf the run's networks: on all {images:,} images that the run was measured on "
        "(results.json). More images\nto search make Recall@1 lower, so the two tables do not "
        "compare.\n\n| network of the run | parameters | Recall@1 | MAP@R |\n|---|---|---|---|\n"
    )
    return head + "\n".join(lines) + "\n"
