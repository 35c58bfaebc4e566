"""Tensors of safetensors files, read one at a time and checked; pickles are never opened."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from darkrank_jax.errors import UserError
from darkrank_jax.files import read_advice, read_json
from darkrank_jax.terminal import printable

_PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl")
# Integers and floats of 8 bits or fewer are quantised, and mean nothing without their scales.
_FLOATS = ("BF16", "F16", "F32", "F64")
# Names of transformers and timm, and of open_clip, in a repository.
_WHOLE, _INDEX = ("model.safetensors", "open_clip_model.safetensors"), ".index.json"


class Entry(NamedTuple):
    """What a file's header says of a tensor: its type, as safetensors names it, and its shape."""

    dtype: str
    shape: tuple[int, ...]


def read_header(path: str | Path) -> dict[str, Entry]:
    """The tensors that a file holds; their values are not read.

    Args:
      path: as for `weight_paths`.

    Returns:
      Type and shape by name.

    Raises:
      UserError: no such file, a pickle, or not safetensors.
    """
    header: dict[str, Entry] = {}
    for each in weight_paths(path):
        with _opened(each) as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            header |= {
                name: Entry(part.get_dtype(), tuple(part.get_shape()))
                for name, part in parts.items()
            }
    return header


def read_tensors(path: str | Path, header: Mapping[str, Entry]) -> Iterator[tuple[str, np.ndarray]]:
    """Names and values of some tensors, one at a time.

    Args:
      path: as for `weight_paths`.
      header: of the tensors to read.

    Yields:
      Each name with its values, float32.

    Raises:
      UserError: as `read_header`; types other than floats of 16 to 64 bits; values that are NaN or
        infinite in float32.
    """
    quantised = {name: entry.dtype for name, entry in header.items() if entry.dtype not in _FLOATS}
    if quantised:
        raise UserError(
            f"{path}: weights must be float16, bfloat16, float32 or float64 (got "
            f"{' and '.join(sorted(set(quantised.values())))} in {first_of(quantised)}); convert "
            "them where the file comes from, with the scales they were quantised by"
        )
    for each in weight_paths(path):
        yield from _read_finite(each, header)


def weight_paths(path: str | Path) -> list[Path]:
    """The safetensors files of weights: one, or the parts that an index lists.

    Args:
      path: of a .safetensors file; of a folder with model.safetensors, as a Hugging Face
        repository has it, or with model.safetensors.index.json and the parts; of that index.

    Raises:
      UserError: a folder without either, or an index that is damaged or lists files elsewhere.
    """
    place = Path(path)
    if place.is_dir():
        found = [place / name for name in _WHOLE if (place / name).is_file()]
        if found:
            return found[:1]
        place = place / f"{_WHOLE[0]}{_INDEX}"
        if not place.is_file():
            raise UserError(
                f"{path}: is a folder without {_WHOLE[0]}; give the .safetensors file in it"
            )
    if not place.name.endswith(_INDEX):
        return [place]
    content = read_json(place, "copy it again")
    parts = content.get("weight_map") if isinstance(content, dict) else None
    names = {str(name) for name in parts.values()} if isinstance(parts, dict) else set()
    if not names or any(Path(name).name != name for name in names):
        raise UserError(f"{place}: must list files of its folder in weight_map; copy it again")
    return [place.with_name(name) for name in sorted(names)]


def _read_finite(path: Path, header: Mapping[str, Entry]) -> Iterator[tuple[str, np.ndarray]]:
    """Names and values of those tensors that one file has."""
    with _opened(path) as file:
        held = set(file.keys())
        for name in (each for each in header if each in held):
            with np.errstate(over="ignore"):
                values = np.asarray(file.get_tensor(name), np.float32)
            if not np.isfinite(values).all():
                raise UserError(
                    f"{path}: weights must be finite (got NaN or infinity in "
                    f"{first_of([name])}); give a file that was saved before training diverged"
                )
            yield name, values


def first_of(names: Iterable[str]) -> str:
    """The first few names, safe to print, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - 3} more" if len(ordered) > 3 else ""
    return ", ".join(printable(_shortened(name)) for name in ordered[:3]) + more


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    """An open safetensors file."""
    if Path(path).suffix in _PICKLES:
        raise UserError(
            f"{path}: is a pickle, which can run any code and is not opened; "
            "docs/pretrained.md turns it into safetensors"
        )
    try:
        with safe_open(path, framework="flax") as file:
            yield file
    except (OSError, SafetensorError) as error:
        reason = printable(_shortened(" ".join(str(error).split())))
        raise UserError(
            f"{path}: cannot be read as safetensors ({reason}); "
            f"{read_advice(error, 'give such a file')}"
        ) from error


def _shortened(text: str) -> str:
    """A name or reason of a damaged file may be of any length."""
    return text if len(text) <= 200 else f"{text[:200]}..."
