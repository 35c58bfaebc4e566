"""What a run was given and its config only names, as digests: the splits, and the teacher."""

import json
from collections.abc import Mapping
from pathlib import Path

from darkrank_jax.config.run import Run
from darkrank_jax.data import Split
from darkrank_jax.digests import digest, file_digest
from darkrank_jax.models.weights.files import weight_paths
from darkrank_jax.training import checkpoints
from darkrank_jax.workdir.manifests import NAME


def input_digests(splits: Mapping[str, Split], teacher: str) -> dict[str, str]:
    """Digests that differ where the same config would now be another run.

    Args:
      splits: of the run's data, by name; none where they are not at hand.
      teacher: of `network_digest`; empty where there is none.

    Returns:
      Digest by what it is of: "teacher", "train split of data", ...
    """
    found = {f"{name} split of data": _of_split(split) for name, split in splits.items()}
    return found | ({"teacher": teacher} if teacher else {})


def _of_split(split: Split) -> str:
    """A digest of the classes and of which image is of which."""
    names = json.dumps(list(split.class_names)).encode()
    return digest([names, split.labels.tobytes()])


def teacher_digest(run: Run | None, place: Path) -> str:
    """The digest of the file, or the checkpoint, that a network is read from.

    Args:
      run: of the network; None: there is none.
      place: where it is trained, unless the run says where it lies.

    Returns:
      32 hexadecimal digits; empty where the network, or its file, is not there.
    """
    if run is None:
        return ""
    if run.ensemble:
        members = [teacher_digest(member, place / name) for name, member in run.ensemble.items()]
        return _digest_of(members) if all(members) else ""
    if run.embeddings or not (run.checkpoint or run.is_trained):
        path = Path(run.embeddings or run.weights.path)
    else:
        folder = Path(run.checkpoint or place)
        # Lists the digests of all files of the checkpoint, wherever it lies.
        path = checkpoints.folder_of(folder, checkpoints.best_step(folder)) / NAME
    parts = weight_paths(path) if path.is_dir() else [path]
    if not all(part.is_file() for part in parts):
        return ""
    digests = [file_digest(part) for part in parts]
    # That of the file itself where there is one.
    return digests[0] if len(digests) == 1 else _digest_of(digests)


def _digest_of(digests: list[str]) -> str:
    """One digest of several."""
    return digest(each.encode() for each in digests)
