"""The names of a ConvNeXt's variables in files of other projects; here they are torchvision's."""

import re

from darkrank_jax.models.weights.naming import (
    TORCHVISION,
    Naming,
    TensorSource,
    Variable,
    dotted,
    last_axis,
    whole,
)

_TIMM = {
    "stem.0": "stem.0",
    "stem.1": "stem.1",
    "reduction": "stages.{}.downsample",
    "block": "stages.{}.blocks.{}",
    "block.0": "conv_dw",
    "block.2": "norm",
    "block.3": "mlp.fc1",
    "block.5": "mlp.fc2",
    "layer_scale": "gamma",
    "grn": "mlp.grn",
}
_HUGGING_FACE = {
    "stem.0": "embeddings.patch_embeddings",
    "stem.1": "embeddings.layernorm",
    "reduction": "encoder.stages.{}.downsampling_layer",
    "block": "encoder.stages.{}.layers.{}",
    "block.0": "dwconv",
    "block.2": "layernorm",
    "block.3": "pwconv1",
    "block.5": "pwconv2",
    "layer_scale": "layer_scale_parameter",
    "grn": "grn",
}


def _source(variable: Variable, names: dict[str, str], grn_axes: int) -> TensorSource:
    """Where a file with these names has a variable."""
    match = re.fullmatch(r"features\.(\d+)\.(\d+)\.?(.*)", dotted(variable))
    assert match, variable
    place, index, rest = int(match[1]), match[2], match[3]
    if place == 0:
        return whole(f"{names[f'stem.{index}']}.{rest}")
    if place % 2 == 0:
        return whole(f"{names['reduction'].format(place // 2)}.{index}.{rest}")
    block = names["block"].format(place // 2, index)
    if rest == "layer_scale":
        return last_axis(f"{block}.{names['layer_scale']}", after=2)
    layer, leaf = rest.rsplit(".", 1)
    if layer == "grn":
        return last_axis(f"{block}.{names['grn']}.{leaf}", before=grn_axes)
    return whole(f"{block}.{names[layer]}.{leaf}")


NAMINGS = (
    TORCHVISION,
    Naming("timm's", lambda variable: _source(variable, _TIMM, 0)),
    # Its norm stands after the pooling.
    Naming("Hugging Face's", lambda variable: _source(variable, _HUGGING_FACE, 3), ("layernorm.",)),
)
