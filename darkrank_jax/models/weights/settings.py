"""What Hugging Face's, timm's and open_clip's JSON files beside weights say of images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from darkrank_jax.errors import UserError
from darkrank_jax.files import read_json

_ADVICE = "remove it, or copy it again"
_INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
}


class Settings(NamedTuple):
    """What a network was trained with; None: the files do not say.

    Attributes:
      mean: of each channel, of values 0 to 1.
      std: likewise.
      size: height and width of the images it was trained on.
      interpolation: by which images are resized.
      activation: of a transformer's blocks, as an option of MODELS.
      files: names of the files that were read.
      architecture: timm's name of the network.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: tuple[int, int] | None = None
    interpolation: str | None = None
    activation: str | None = None
    files: tuple[str, ...] = ()
    architecture: str | None = None


def read_settings(path: str | Path) -> Settings:
    """The settings in the JSON files beside weights.

    Args:
      path: a .safetensors file, or the folder it is in.

    Returns:
      All None where there are no such files.

    Raises:
      UserError: a file is not JSON, or a value in it is of another kind.
    """
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    settings = Settings()
    for name, reader in _READERS.items():
        file = folder / name
        if not file.is_file():
            continue
        content = read_json(file, _ADVICE)
        if not isinstance(content, Mapping):
            raise UserError(f"{file}: must be a JSON object; {_ADVICE}")
        try:
            found = reader(content)
        except (TypeError, ValueError, KeyError) as error:
            raise UserError(f"{file}: has settings of another kind ({error}); {_ADVICE}") from error
        given = {field: value for field, value in found.items() if value is not None}
        if given:
            settings = settings._replace(**given, files=(*settings.files, name))
    return settings


def _of_model(content: Mapping[str, Any]) -> dict[str, Any]:
    """Of config.json: timm's, or transformers'."""
    timm = content if "input_size" in content else _part(content, "pretrained_cfg")
    if timm:
        architecture = content.get("architecture")
        return _of_timm(timm) | {"architecture": architecture and str(architecture)}
    vision = _part(content, "vision_config") or content
    return {
        "size": _size(vision.get("image_size")),
        "activation": _ACTIVATIONS.get(str(vision.get("hidden_act"))),
    }


def _of_timm(content: Mapping[str, Any]) -> dict[str, Any]:
    size = content.get("input_size")
    return {
        "mean": _numbers(content.get("mean")),
        "std": _numbers(content.get("std")),
        "size": None if size is None else _size(size[1:]),
        "interpolation": content.get("interpolation"),
    }


def _of_open_clip(content: Mapping[str, Any]) -> dict[str, Any]:
    """Of open_clip_config.json."""
    images, model = _part(content, "preprocess_cfg"), _part(content, "model_cfg")
    vision = _part(model, "vision_cfg")
    # A tower of timm's has its own activation.
    own = "timm_model_name" not in vision
    activation = "quick_gelu" if model.get("quick_gelu") else "gelu"
    return {
        "mean": _numbers(images.get("mean")),
        "std": _numbers(images.get("std")),
        "interpolation": images.get("interpolation"),
        "size": _size(vision.get("image_size")),
        "activation": activation if model and own else None,
    }


def _of_preprocessor(content: Mapping[str, Any]) -> dict[str, Any]:
    """Of preprocessor_config.json."""
    if content.get("do_normalize") is False:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    else:
        mean, std = (_numbers(content.get(name)) for name in ("image_mean", "image_std"))
    cropped = content.get("crop_size") if content.get("do_center_crop") else None
    return {
        "mean": mean,
        "std": std,
        "size": _size(cropped or content.get("size")),
        "interpolation": _INTERPOLATIONS.get(content.get("resample", -1)),
    }


def _part(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of a file; empty where it is not there."""
    part = content.get(name) or {}
    if not isinstance(part, Mapping):
        raise TypeError(f"{name} is not an object")
    return part


def _numbers(value: Any) -> tuple[float, ...] | None:
    return None if value is None else tuple(float(each) for each in value)


def _size(value: Any) -> tuple[int, int] | None:
    """Height and width of a number, a pair, or {"height", "width"} or {"shortest_edge"}."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        short = value.get("shortest_edge")
        value = (value.get("height", short), value.get("width", short))
        if None in value:
            return None
    height, width = (value, value) if isinstance(value, int) else value
    return int(height), int(width)


# A later file's settings replace an earlier one's.
_READERS = {
    "config.json": _of_model,
    "open_clip_config.json": _of_open_clip,
    "preprocessor_config.json": _of_preprocessor,
}
