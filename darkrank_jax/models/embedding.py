"""A backbone and the head that makes one embedding of its last map."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from darkrank_jax.errors import UserError
from darkrank_jax.losses import pairwise


class EmbeddingModel(nn.Module):
    """Images to embeddings.

    Attributes:
      backbone: maps (images, train) to a tuple of maps NHWC, the last of which is embedded.
      embedding_dim: numbers of an embedding; 0: those of the pooled features, without a layer.
      pooling: of the last map over its places: "average", "max" or "gem" (generalised mean).
      head_batch_norm: batch norm after the linear layer.
      normalize: embeddings of length 1; a zero vector stays zero.
    """

    backbone: nn.Module
    embedding_dim: int = 128
    pooling: Literal["average", "max", "gem"] = "average"
    head_batch_norm: bool = False
    normalize: bool = True

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "batch h w channels"],
        train: bool,
        frozen_backbone: bool = False,
    ) -> dict[str, Any]:
        """Embeds a batch of normalised images.

        Args:
          images: float, NHWC.
          train: batch norm by the batch (and its statistics updated) rather than by the running
            statistics.
          frozen_backbone: the backbone as it embeds, without a gradient, whatever `train` says.

        Returns:
          "embeddings" float32 [batch, dim]; "features" float32 [batch, channels], pooled;
          "maps", the backbone's. With `head_batch_norm` also "before_norm" and "after_norm", the
          embedding on either side of it, not of length 1.

        Raises:
          UserError: the backbone returns something else than maps.
        """
        maps = self.backbone(images, train and not frozen_backbone)
        _check_maps(self.backbone, maps, images.shape[0])
        if frozen_backbone:
            maps = jax.lax.stop_gradient(maps)
        features = POOLINGS[self.pooling](maps[-1].astype(jnp.float32))
        embeddings, stages = features, {}
        if self.embedding_dim:
            # Accelerators multiply float32 by fewer bits unless they are told.
            project = nn.Dense(self.embedding_dim, precision="highest", name="embedding")
            embeddings = project(features)
        if self.head_batch_norm:
            stages["before_norm"] = embeddings
            embeddings = nn.BatchNorm(not train, momentum=0.9, name="embedding_bn")(embeddings)
            stages["after_norm"] = embeddings
        if self.normalize:
            embeddings = pairwise.normalize(embeddings)
        return {"embeddings": embeddings, "features": features, "maps": maps, **stages}


def _check_maps(backbone: nn.Module, maps: Any, batch: Any) -> None:
    """Refuses what is not a tuple of maps [batch, height, width, channels]."""
    found = jax.tree.map(lambda each: list(getattr(each, "shape", ())), maps)
    shapes = found if isinstance(maps, tuple) else ()
    if not shapes or any(
        not isinstance(shape, list) or len(shape) != 4 or shape[0] != batch for shape in shapes
    ):
        raise UserError(
            f"model.name: {type(backbone).__name__} must return a tuple of maps [{batch}, height, "
            f"width, channels], the last one embedded (got {found}); return (maps,)"
        )


class GeneralizedMean(nn.Module):
    """Generalised-mean pooling with a learnt power (Radenovic et al., TPAMI 2019, eq. 2).

    f = mean(max(x, eps)^p)^(1/p); p = 1 is the average, p to infinity the maximum.
    """

    @nn.compact
    def __call__(self, maps: Float[Array, "batch h w c"]) -> Float[Array, "batch c"]:
        """Pools over height and width."""
        power = self.param("power", nn.initializers.constant(3.0), ())
        # Bounded from below: at 0 the gradient of the root is infinite.
        clipped = jnp.maximum(maps, 1e-6)
        # Scaled, or a large power of it underflows. The scale cancels, so it needs no gradient.
        largest = jax.lax.stop_gradient(clipped.max(axis=(1, 2), keepdims=True))
        means = jnp.mean((clipped / largest) ** power, axis=(1, 2))
        return largest[:, 0, 0] * means ** (1.0 / power)


POOLINGS = {
    "average": lambda maps: maps.mean(axis=(1, 2)),
    "max": lambda maps: maps.max(axis=(1, 2)),
    "gem": lambda maps: GeneralizedMean(name="gem")(maps),
}
