"""What using a network asks of tables in which a config file may have put entries of its own."""

import inspect
from collections.abc import Iterable
from typing import Any

from darkrank_jax.config.run import Data, class_weight_losses
from darkrank_jax.data import SOURCES
from darkrank_jax.errors import UserError
from darkrank_jax.losses import LOSSES

_ADVICE = "give the --config whose file registers it (in Python, import that file first)"


def needs_of(data: Data, losses: Iterable[str]) -> dict[str, Any]:
    """What run.json keeps, so that a network is used without the file that registered its parts.

    Args:
      data: of the run.
      losses: names of its losses.

    Returns:
      "center_crop", the share of the largest middle part that images are cut to, and
      "class_weights", the names of the losses that hold some.

    Raises:
      UserError: the source or a loss is registered by a config file that was not loaded.
    """
    check_source(data)
    for name in losses:
        if name not in LOSSES:
            raise UserError(f"losses.{name}: is no loss that is known here; {_ADVICE}")
    crop = data.options.get("center_crop")
    if crop is None:
        options = inspect.signature(SOURCES[data.source]).parameters
        crop = options["center_crop"].default if "center_crop" in options else 1.0
    return {"center_crop": crop, "class_weights": class_weight_losses(losses)}


def check_source(data: Data) -> None:
    """Refuses data of a source that a config file registered which was not loaded."""
    if data.source not in SOURCES:
        raise UserError(f"data.source: {data.source!r} is not known here; {_ADVICE}")
