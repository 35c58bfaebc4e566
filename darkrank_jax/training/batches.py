"""The batches of a run, from any step on, and all augmented views of its images."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any, NamedTuple

import jax
import numpy as np

from darkrank_jax.config.run import Data
from darkrank_jax.data import Split, batches, every_view, view_of


class Batches(NamedTuple):
    """The batches of a run: a pure function of these values and the step.

    Attributes:
      train: the split that they are drawn from.
      data: of the run.
      sampler: "name" in SAMPLERS, its options, and the arrays that it goes by.
      seed: of the run.
      steps: of the run.
      teacher_split: the split at the teacher's image size; `train` itself where both sizes are the
        same, or no teacher sees images.
    """

    train: Split
    data: Data
    sampler: Mapping[str, Any]
    seed: int
    steps: int
    teacher_split: Split

    def of_teacher(self) -> "Batches":
        """The same batches with the teacher's images alone."""
        return self._replace(train=self.teacher_split)

    def stream(self, first_step: int, stopping: Callable[[], int] = lambda: 0) -> closing:
        """This process' part of the batches from a step to the last.

        Args:
          first_step: step of the first batch.
          stopping: whether to end early where a worker does not answer.

        Returns:
          A context manager; threads and workers end when it is left.
        """
        return closing(
            batches(
                self.train,
                seed=self.seed,
                first_step=first_step,
                num_steps=self.steps - first_step,
                batch_size=self.data.batch_size,
                images_per_class=self.data.images_per_class,
                sampler=self.sampler,
                num_unlabelled=self.data.num_unlabelled,
                views=self.data.views,
                process_index=jax.process_index(),
                num_processes=jax.process_count(),
                teacher_images=None
                if self.teacher_split is self.train
                else self.teacher_split.images,
                stopping=stopping,
                **self._loading(),
            )
        )

    def in_store(self) -> tuple[int, int]:
        """The first two axes of stored outputs: views and images, or steps and batch."""
        if self.data.views:
            return self.data.views, len(self.train.labels)
        return self.steps, self.data.batch_size

    def place(self, step: int, rows: np.ndarray) -> Any:
        """The index of a batch within stored outputs."""
        if not self.data.views:
            return step
        images, views = len(self.train.labels), self.data.views
        return view_of(step, self.data.batch_size, images, views), rows

    def each_once(self) -> Iterator[tuple[Any, np.ndarray]]:
        """All views of all images, or all batches: the index of each in a store, and its images."""
        if not self.data.views:
            with self.stream(0) as stream:
                yield from ((step, batch["images"]) for step, batch in enumerate(stream))
            return
        drawn = every_view(
            self.train,
            views=self.data.views,
            batch_size=self.data.batch_size,
            **self._loading(),
        )
        with closing(drawn):
            for view, rows, images in drawn:
                yield (view, rows), images

    def _loading(self) -> dict[str, Any]:
        """How images are augmented, and by how many threads or workers."""
        names = ("augmentation", "num_threads", "num_workers")
        return {name: getattr(self.data, name) for name in names}
