"""A run as plain typed values."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from darkrank_jax.losses import LOSSES
from darkrank_jax.losses.combination import loss_inputs


@dataclasses.dataclass(frozen=True)
class Data:
    """Where images come from and how a batch is made of them; configs/default.py says each."""

    source: str
    path: str
    options: dict
    image_size: int | tuple
    mean: float | tuple
    std: float | tuple
    batch_size: int
    images_per_class: int
    sampler: dict
    augmentation: dict
    views: int
    num_threads: int
    # Absent from the run.json of earlier versions.
    num_workers: int = 0
    unlabelled: dict = dataclasses.field(default_factory=dict)

    @property
    def num_unlabelled(self) -> int:
        """Images of a batch that are drawn from `unlabelled`."""
        return round(self.unlabelled["share"] * self.batch_size) if self.unlabelled else 0

    @property
    def num_labelled(self) -> int:
        """Images of a batch that are drawn from `source`."""
        return self.batch_size - self.num_unlabelled

    @property
    def asks_teacher(self) -> bool:
        """Whether the sampler goes by a teacher's embeddings of the classes."""
        return self.sampler["name"] == "hard_classes"


@dataclasses.dataclass(frozen=True)
class Weights:
    """Where parameters come from that are not drawn; configs/default.py says each."""

    path: str
    prefix: str
    head: str
    # Absent from the run.json of earlier versions.
    ignore: tuple[str, ...] = ()
    neck: str = ""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What `--mode eval` measures; configs/default.py says each field."""

    networks: dict
    datasets: dict
    split: Literal["train", "validation", "test"]
    save_embeddings: bool
    protocols: dict
    distractors: dict

    def of_the_run_itself(self) -> bool:
        """Whether it measures what training measured at its end."""
        return not self.networks and not self.datasets and self.split == "test"


@dataclasses.dataclass(frozen=True)
class Dataset:
    """One dataset to measure on: the fields of `Data` in which it differs, and its split."""

    source: str
    path: str
    options: dict
    split: Literal["train", "validation", "test"]


@dataclasses.dataclass(frozen=True)
class Run:
    """One network to train, and the run of its teacher; configs/default.py says each field."""

    seed: int
    model: dict
    weights: Weights
    data: Data
    losses: dict
    teacher: "Run | None"
    store_teacher: bool
    checkpoint: str
    ensemble: dict
    combine: Literal["concatenation", "mean"]
    embeddings: str
    baseline: dict
    steps: int
    optimizer: dict
    learning_rate: float
    schedule: dict
    clip_norm: float
    ema_decay: float
    chunks: int
    remat: bool
    profile: int
    log_every: int
    eval_every: int
    keep_checkpoints: int
    evaluation: Evaluation
    # Absent from the run.json of earlier versions.
    learning_rates: dict = dataclasses.field(default_factory=dict)
    store_dtype: Literal["float32", "float16"] = "float32"
    freeze_steps: int = 0
    patience: int = 0
    layer_decay: float = 1.0
    # `runs.splits.in_steps` makes `steps` and the schedule's `warmup_steps` of these two.
    epochs: float = 0.0
    warmup_epochs: float = 0.0
    mixup: float = 0.0
    hook: str = ""

    @property
    def frozen(self) -> "Run":
        """The run with its backbone as it is, which the first `freeze_steps` train."""
        return dataclasses.replace(self, learning_rates=self.learning_rates | {"backbone": 0})

    @property
    def is_trained(self) -> bool:
        """Whether the run trains a network of its own, rather than load one."""
        return not (self.ensemble or self.embeddings) and (self.steps > 0 or self.epochs > 0)

    @property
    def loss_inputs(self) -> set[str]:
        """The names of all arrays that the losses take."""
        entries = self.losses.items()
        return {array for name, entry in entries for array in loss_inputs(name, entry)}

    @property
    def class_weights(self) -> list[str]:
        """The losses that hold a weight vector for each training class."""
        return class_weight_losses(self.losses)

    @property
    def teacher_data(self) -> Data:
        """The images that the teacher is shown: those of this run, at the teacher's own size."""
        if self.teacher is None:
            return self.data
        seeing = [network for network, _ in self.teacher.embedding_networks("teacher")]
        if self.views_from_outside:
            seeing = [self.teacher]
        size = seeing[0].data.image_size if seeing else self.data.image_size
        return dataclasses.replace(self.data, image_size=size)

    @property
    def teacher_file(self) -> str:
        """The file of the teacher's embeddings; empty where the teacher, if any, is a network."""
        return self.teacher.embeddings if self.teacher else ""

    @property
    def views_from_outside(self) -> bool:
        """Whether a teacher of another framework has embedded each view of the images."""
        return bool(self.teacher_file) and self.store_teacher and self.data.views > 0

    @property
    def outputs(self) -> list[str]:
        """The arrays that losses can have of this run as a teacher."""
        if self.ensemble or self.embeddings:
            return ["teacher_embeddings"]
        logits = ["teacher_logits"] if self.is_trained else []
        return ["teacher_embeddings", "teacher_features", "teacher_maps", *logits]

    def nested(self, prefix: str = "") -> "Iterator[tuple[Run, str]]":
        """The runs within this run, inner ones first, then itself; each with its fields' prefix."""
        # A checkpoint's teacher is not used.
        if self.teacher and not self.checkpoint:
            yield from self.teacher.nested(f"{prefix}teacher.")
        for name, member in self.ensemble.items():
            yield from member.nested(f"{prefix}ensemble.{name}.")
        yield self, prefix

    def trained_networks(self) -> "Iterator[tuple[str, Run, str]]":
        """The networks that are trained, in order: what a person calls it, run, fields' prefix."""
        for part, prefix in self.nested():
            if part is not self and part.is_trained and not part.checkpoint:
                name = prefix.replace("ensemble.", "").rstrip(".")
                yield "'s ".join(name.split(".")), part, prefix
        if self.baseline:
            yield "baseline", self.baseline_run, ""
        yield "student" if self.teacher else "network", self, ""

    def embedding_networks(self, where: str) -> "Iterator[tuple[Run, str]]":
        """The networks that embed images for this run, each with its field: itself, or members."""
        for name, member in self.ensemble.items():
            yield from member.embedding_networks(f"{where}.ensemble.{name}")
        if not self.ensemble and not self.embeddings:
            yield self, where

    def computing_in(self, dtype: str) -> "Run":
        """The run and its teachers, with `dtype` where their models say "auto"."""
        model = self.model | ({"dtype": dtype} if self.model.get("dtype") == "auto" else {})
        teacher = self.teacher and self.teacher.computing_in(dtype)
        ensemble = {name: each.computing_in(dtype) for name, each in self.ensemble.items()}
        return dataclasses.replace(self, model=model, teacher=teacher, ensemble=ensemble)

    @property
    def baseline_run(self) -> "Run":
        """The same student, trained alone on the losses that `baseline` names.

        The teacher stays where the sampler asks it, so that both see the same batches, but for
        images without labels, of which a baseline learns nothing.
        """
        teacher = self.teacher if self.data.asks_teacher else None
        data = dataclasses.replace(self.data, batch_size=self.data.num_labelled, unlabelled={})
        return dataclasses.replace(
            self, losses=self.baseline, teacher=teacher, baseline={}, data=data, mixup=0.0
        )


# Fields of a run that are dataclasses of their own.
HOLDERS: dict[str, Any] = {"data": Data, "evaluation": Evaluation, "weights": Weights}


def class_weight_losses(losses: Iterable[str]) -> list[str]:
    """Those of some losses that hold a weight vector for each training class."""
    return [name for name in losses if "class_weights" in LOSSES[name].inputs]


def needs_teacher(loss: str) -> bool:
    """Whether a loss compares with a teacher."""
    return any(name.startswith("teacher_") for name in LOSSES[loss].inputs)
