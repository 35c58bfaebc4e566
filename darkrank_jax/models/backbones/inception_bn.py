"""Inception with batch norm (Ioffe and Szegedy, ICML 2015): the DarkRank paper's teacher."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from darkrank_jax.models.convolution import batch_norm, conv, conv_then_norm
from darkrank_jax.models.layers import Maps
from darkrank_jax.models.pooling import centred, filled_up, max_pool

# Channels of each block's branches: 1x1; 3x3 reduced, 3x3; double 3x3 reduced, double 3x3; pooled
# and projected. None in the first and the last: the block halves the map.
_BLOCKS: dict[str, tuple[int | None, int, int, int, int, int | None]] = {
    "3a": (64, 64, 64, 64, 96, 32),
    "3b": (64, 64, 96, 64, 96, 64),
    "3c": (None, 128, 160, 64, 96, None),
    "4a": (224, 64, 96, 96, 128, 128),
    "4b": (192, 96, 128, 96, 128, 128),
    "4c": (160, 128, 160, 128, 160, 128),
    "4d": (96, 128, 192, 160, 192, 128),
    "4e": (None, 128, 192, 192, 256, None),
    "5a": (352, 192, 320, 160, 224, 128),
    "5b": (352, 192, 320, 192, 224, 128),
}


class InceptionBN(nn.Module):
    """Inception-BN without its classifier, as in Caffe and in metric learning since.

    Modules are named as in pretrainedmodels' `bninception`. Convolutions have a bias, which the
    norm after them makes idle.

    Attributes:
      width: factor on all channels.
      dtype: of the computation; parameters and statistics are float32.
    """

    width: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "batch h w channels"], train: bool) -> Maps:
        """Maps images to the last map of each size, NHWC: 1/2, 1/4, 1/8, 1/16 and 1/32."""
        x = images.astype(self.dtype)
        x = self._unit(x, "conv1_7x7_s2", 64, 7, train, stride=2)
        maps = [x]
        x = max_pool(x, filled_up)
        x = self._unit(x, "conv2_3x3_reduce", 64, 1, train)
        x = self._unit(x, "conv2_3x3", 192, 3, train)
        maps.append(x)
        x = max_pool(x, filled_up)
        for name, channels in _BLOCKS.items():
            if channels[0] is None:
                maps.append(x)
            x = self._block(x, f"inception_{name}", channels, train)
        return (*maps, x)

    def _block(self, x: jax.Array, name: str, channels: tuple, train: bool) -> jax.Array:
        """The branches of a block, side by side."""
        single, reduced, triple, double_reduced, double, projected = channels
        stride = 1 if single else 2
        branches = []
        if single:
            branches.append(self._unit(x, f"{name}_1x1", single, 1, train))
        y = self._unit(x, f"{name}_3x3_reduce", reduced, 1, train)
        branches.append(self._unit(y, f"{name}_3x3", triple, 3, train, stride=stride))
        y = self._unit(x, f"{name}_double_3x3_reduce", double_reduced, 1, train)
        y = self._unit(y, f"{name}_double_3x3_1", double, 3, train)
        y = self._unit(y, f"{name}_double_3x3_2", double, 3, train, stride=stride)
        branches.append(y)
        if not projected:
            return jnp.concatenate([*branches, max_pool(x, _halving)], axis=-1)
        # The last block alone pools by the maximum.
        if name.endswith("5b"):
            y = max_pool(x, centred, stride=1)
        else:
            y = nn.avg_pool(x, (3, 3), (1, 1), padding=[(1, 1), (1, 1)])  # pyright: ignore
        y = self._unit(y, f"{name}_pool_proj", projected, 1, train)
        return jnp.concatenate([*branches, y], axis=-1)

    def _unit(
        self, x: jax.Array, name: str, channels: int, kernel: int, train: bool, stride: int = 1
    ) -> jax.Array:
        """Convolution, batch norm and ReLU."""
        features = max(1, round(channels * self.width))
        convolve = conv(features, kernel, stride, bias=True, dtype=self.dtype, name=name)
        norm = batch_norm(train, self.dtype, f"{name}_bn")
        return nn.relu(conv_then_norm(convolve, norm, x))


def _halving(size: int) -> tuple[int, int]:
    """Padding that gives as many places as the convolutions beside it, also where Caffe's fails."""
    return centred(size) if size % 2 else filled_up(size)
