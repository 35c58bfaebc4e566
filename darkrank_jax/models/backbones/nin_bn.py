"""Network in Network (Lin et al., ICLR 2014) with batch norm: the DarkRank paper's student."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from darkrank_jax.errors import UserError
from darkrank_jax.models.convolution import batch_norm, conv, conv_then_norm
from darkrank_jax.models.layers import Maps
from darkrank_jax.models.pooling import filled_up, max_pool

# Of each stage: name, kernel, stride and padding of its convolution, channels, names of its two
# 1x1 convolutions.
_STAGES = (
    ("conv1", 11, 4, 0, 96, ("cccp1", "cccp2")),
    ("conv2", 5, 1, 2, 256, ("cccp3", "cccp4")),
    ("conv3", 3, 1, 1, 384, ("cccp5", "cccp6")),
    ("conv4_1024", 3, 1, 1, 1024, ("cccp7_1024", "cccp8_1024_new")),
)


class NINBN(nn.Module):
    """Network in Network without its classifier, a norm after every convolution.

    As DarkRank's authors train it: the last 1x1 convolution has 1024 channels instead of one for
    each class, the norms' epsilon is 1e-3, and their names of the layers are kept. Their norms have
    no learnt scale (MXNet's `fix_gamma`); these do, as everywhere else in this package.

    Attributes:
      width: factor on all channels.
      dropout: share of the third stage's numbers that training sets to 0.
      dtype: of the computation; parameters and statistics are float32.
    """

    width: float = 1.0
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "batch h w channels"], train: bool) -> Maps:
        """Maps images of 11 pixels and more to the outputs of the four stages, NHWC."""
        height, width = images.shape[1:3]
        if min(height, width) < 11:
            raise UserError(
                "data.image_size: must be at least 11, the first kernel of nin_bn (got "
                f"{height} x {width})"
            )
        x, maps, number = images.astype(self.dtype), [], 0
        for name, kernel, stride, padding, channels, mixers in _STAGES:
            if maps:
                x = max_pool(maps[-1], filled_up)
            if name == "conv4_1024":
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
            features = max(1, round(channels * self.width))
            shapes = [(name, kernel, stride, padding), *((mixer, 1, 1, 0) for mixer in mixers)]
            for unit, side, step, pad in shapes:
                number += 1
                convolve = conv(
                    features, side, step, padding=pad, bias=True, dtype=self.dtype, name=unit
                )
                norm = batch_norm(train, self.dtype, f"bn_{number}", epsilon=1e-3)
                x = nn.relu(conv_then_norm(convolve, norm, x))
            maps.append(x)
        return tuple(maps)
