"""Which folders hold a finished run, as `--mode compare` wants them."""

from collections.abc import Sequence
from pathlib import Path

from darkrank_jax.errors import UserError


def check_finished(paths: Sequence[Path]) -> None:
    """Refuses what cannot be compared, before anything is read.

    Args:
      paths: workdirs of runs.

    Raises:
      UserError: there are fewer than two, or one holds no finished run.
    """
    if len(paths) < 2:
        raise UserError(
            f"--mode compare: must have two runs or more (got {len(paths)}); give their workdirs: "
            "--mode compare runs/a runs/b"
        )
    for path in paths:
        if not path.is_dir():
            raise UserError(
                f"{path}: must be the folder of a finished run (got a path without a folder); give "
                "the workdirs of finished runs"
            )
        if not (path / "results.json").is_file():
            raise UserError(
                f"{path}: has no results.json, so no run was finished there; give workdirs of "
                "finished runs"
            )
