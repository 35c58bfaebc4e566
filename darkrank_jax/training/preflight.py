"""What is checked and told before a run starts: data, sizes, losses on those sizes."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp

from darkrank_jax.data import SOURCES, Split, check_batch
from darkrank_jax.errors import UserError
from darkrank_jax.losses import LOSSES
from darkrank_jax.training.network import build
from darkrank_jax.training.run_config import Data, Run, baseline_of


def load_data(data: Data) -> dict[str, Split]:
    """The splits of a run's data: "train", "validation" and "test".

    Networks of one run share their images, so the last two sets stay in memory.

    Args:
      data: of a run.

    Returns:
      Split by name; no class is in two of them.

    Raises:
      UserError: from the source.
    """
    return _load(data.source, data.path, data.image_size, json.dumps(data.options))


@functools.lru_cache(maxsize=2)
def _load(source: str, path: str, image_size: int, options: str) -> dict[str, Split]:
    """Calls a source; the options are JSON, so that they can be a key."""
    return SOURCES[source](path=path, image_size=image_size, **json.loads(options))


def check_sizes(run: Run, prefix: str = "") -> None:
    """Refuses a run whose losses, classes and networks do not fit together, nothing compiled.

    Args:
      run: the run; its teacher and baseline are checked as well.
      prefix: of the run's fields in the outer config.

    Raises:
      UserError: from the data, the model, or a loss on arrays of the run's sizes.
    """
    if run.teacher:
        check_sizes(run.teacher, f"{prefix}teacher.")
    splits = load_data(run.data)
    check_batch(splits["train"], run.data.batch_size, run.data.images_per_class)
    arrays = _outputs(run, splits["train"])
    if run.teacher:
        teacher = _outputs(run.teacher, load_data(run.teacher.data)["train"])
        arrays |= {f"teacher_{name}": array for name, array in teacher.items()}
    for field, each in (("losses", run), ("baseline", baseline_of(run))):
        for name, options in each.losses.items():
            _check_loss(name, options, arrays, f"{prefix}{field}.{name}")


def _outputs(run: Run, train: Split) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of what a network and its batch give the losses."""
    ...


def _check_loss(name: str, options: dict, arrays: dict, where: str) -> None:
    """Traces a loss on the shapes it will meet."""
    options = {option: value for option, value in options.items() if option != "weight"}
    loss = functools.partial(LOSSES[name].function, **options)
    try:
        jax.eval_shape(loss, *(arrays[array] for array in LOSSES[name].inputs))
    except (ValueError, TypeError) as error:
        raise UserError(f"{where}: {' '.join(str(error).split())}") from error
