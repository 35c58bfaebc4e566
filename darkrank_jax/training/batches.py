"""The batches of a run, from any step on, and all augmented views of its images."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any, NamedTuple

import jax
import numpy as np

from darkrank_jax.config.run import Data
from darkrank_jax.data import Split, batches, every_view, of_process, view_of


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

    def stream(
        self,
        first_step: int,
        stopping: Callable[[], int] = lambda: 0,
        *,
        steps: int | None = None,
        whole: bool = False,
    ) -> closing:
        """This process' part of the batches from a step to the last.

        Args:
          first_step: step of the first batch.
          stopping: whether to end early where a worker does not answer.
          steps: batches; None: up to the last of the run.
          whole: the batches of all processes rather than this one's part.

        Returns:
          A context manager; threads and workers end when it is left.
        """
        return closing(
            batches(
                self.train,
                seed=self.seed,
                first_step=first_step,
                num_steps=self.steps - first_step if steps is None else steps,
                batch_size=self.data.batch_size,
                images_per_class=self.data.images_per_class,
                sampler=self.sampler,
                num_unlabelled=self.data.num_unlabelled,
                views=self.data.views,
                process_index=0 if whole else jax.process_index(),
                num_processes=1 if whole else jax.process_count(),
                teacher_images=None
                if self.teacher_split is self.train
                else self.teacher_split.images,
                stopping=stopping,
                **self._loading(),
            )
        )

    def num_stored(self) -> int:
        """Batches of stored outputs: those of all views, or those of the run."""
        return self.data.views * self._each() if self.data.views else self.steps

    def place(self, step: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where this process' part of a step's batch is in stored outputs.

        Args:
          step: of the run.
          rows: of the training split, this process' part of the batch.

        Returns:
          The stored batch of each row, and its place there.
        """
        size = self.data.batch_size
        if not self.data.views:
            places = of_process(np.arange(size), jax.process_index(), jax.process_count())
            return np.full(len(rows), step), places
        view = view_of(step, size, len(self.train.labels), self.data.views)
        return view * self._each() + rows // size, rows % size

    def stored(self, first: int, count: int) -> Iterator[np.ndarray]:
        """The images of some stored batches, whole ones in every process."""
        if self.data.views:
            drawn = every_view(
                self.train,
                views=self.data.views,
                batch_size=self.data.batch_size,
                first=first,
                count=count,
                **self._loading(),
            )
            with closing(drawn):
                yield from (images for _, _, images in drawn)
            return
        with self.stream(first, steps=count, whole=True) as stream:
            yield from (batch["images"] for batch in stream)

    def _each(self) -> int:
        """Batches of a view."""
        return -(-len(self.train.labels) // self.data.batch_size)

    def _loading(self) -> dict[str, Any]:
        """How images are augmented, and by how many threads or workers."""
        names = ("augmentation", "num_threads", "num_workers")
        return {name: getattr(self.data, name) for name in names}
