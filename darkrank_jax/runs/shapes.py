"""Shapes of a run's networks and of the arrays that its losses take; nothing is computed."""

from pathlib import Path

import jax
import jax.numpy as jnp

from darkrank_jax.config.run import Run
from darkrank_jax.data import Split
from darkrank_jax.runs.splits import Splits
from darkrank_jax.training.network import Embedder, Network, build, make_ensemble
from darkrank_jax.training.teacher.embeddings import TeacherEmbeddings, read_teacher_embeddings

Shapes = dict[str, jax.ShapeDtypeStruct]
# By the prefix of its fields: "teacher.ensemble.small.", and "" for the run's own.
Networks = dict[str, Embedder]


def abstract_network(run: Run, splits: Splits) -> Embedder:
    """A network whose variables are shapes alone.

    Args:
      run: of the network, or of an ensemble.
      splits: of its data.
    """
    if run.ensemble:
        members = {name: abstract_network(each, splits) for name, each in run.ensemble.items()}
        return make_ensemble(run, members, Path())
    train = splits[run.data]["train"]
    channels = train.images.shape[-1]
    model, _, initial_state = build(run, channels=channels, num_classes=len(train.class_names))
    state = jax.eval_shape(initial_state)
    return Network(run, model, state.evaluated, 0, 0.0, Path(), channels)


def abstract_teacher(
    path: str, train: Split, networks: Networks, prefix: str
) -> Embedder | TeacherEmbeddings | None:
    """The teacher of a run: its stored embeddings, or a network whose variables are shapes alone.

    Args:
      path: of the file of its embeddings; empty: it is a network, or there is none.
      train: what the run trains on.
      networks: of `check_sizes`.
      prefix: of the run's fields in the outer config.
    """
    return read_teacher_embeddings(path, train) if path else networks.get(f"{prefix}teacher.")


def arrays_of(
    network: Embedder | TeacherEmbeddings | None, batch_size: int, splits: Splits
) -> Shapes:
    """Shapes of all arrays that losses can have of a network and a batch.

    Args:
      network: of `abstract_network` or `abstract_teacher`; None: no arrays.
      batch_size: images of the batch.
      splits: of the network's data.

    Returns:
      Shape by name: outputs of the network; of one that is trained by itself also "labels",
      "class_weights" and "logits".
    """
    if network is None:
        return {}
    if isinstance(network, TeacherEmbeddings):
        shape = (batch_size, network.vectors.shape[1])
        return {"embeddings": jax.ShapeDtypeStruct(shape, jnp.float32)}
    images = jax.ShapeDtypeStruct((batch_size, *network.image_shape), jnp.uint8)
    outputs: Shapes = jax.eval_shape(network.embed_step(), network.variables, images)
    if not isinstance(network, Network):
        return outputs
    dim = outputs["embeddings"].shape[-1]
    classes = len(splits[network.run.data]["train"].class_names)
    return outputs | {
        "labels": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
        "class_weights": jax.ShapeDtypeStruct((dim, classes), jnp.float32),
        "logits": jax.ShapeDtypeStruct((batch_size, classes), jnp.float32),
    }
