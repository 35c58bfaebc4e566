"""The one table of losses by name, and their weighted sum."""

import difflib
import functools
import inspect
import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from darkrank_jax.losses import (
    average_precision,
    centers,
    classification,
    contrastive,
    darkrank,
    distillation,
    multiplied_angles,
    proxies,
    relational,
    rkd,
    triplets,
    tuplets,
    variance,
)
from darkrank_jax.losses.internals.prefixes import prefix_of


class Loss(NamedTuple):
    """A loss and the arrays that it takes by position, by the names a train step gives them."""

    function: Callable[..., jax.Array]
    inputs: tuple[str, ...]


_LABELLED = ("embeddings", "labels")
_CLASSIFIED = ("embeddings", "labels", "class_weights")
_TRANSFERRED = ("embeddings", "teacher_embeddings")

# Name in a config -> loss. Names are those of the functions without "_loss".
LOSSES: dict[str, Loss] = {
    "angular": Loss(tuplets.angular_loss, _LABELLED),
    "arcface": Loss(classification.arcface_loss, _CLASSIFIED),
    "attention_transfer": Loss(distillation.attention_transfer_loss, ("maps", "teacher_maps")),
    "circle": Loss(contrastive.circle_loss, _LABELLED),
    "contrastive": Loss(contrastive.contrastive_loss, _LABELLED),
    "correlation_congruence": Loss(relational.correlation_congruence_loss, _TRANSFERRED),
    "cosface": Loss(classification.cosface_loss, _CLASSIFIED),
    "darkrank_hard": Loss(darkrank.darkrank_hard_loss, _TRANSFERRED),
    "darkrank_soft": Loss(darkrank.darkrank_soft_loss, _TRANSFERRED),
    "compatible_ranking": Loss(darkrank.compatible_ranking_loss, _TRANSFERRED),
    "embedding_match": Loss(distillation.embedding_match_loss, _TRANSFERRED),
    "fast_ap": Loss(average_precision.fast_ap_loss, _LABELLED),
    "fitnet": Loss(distillation.fitnet_loss, ("features", "teacher_features")),
    "kd": Loss(distillation.kd_loss, ("logits", "teacher_logits")),
    "large_margin_softmax": Loss(multiplied_angles.large_margin_softmax_loss, _CLASSIFIED),
    "lifted_structure": Loss(tuplets.lifted_structure_loss, _LABELLED),
    "lmnn": Loss(triplets.lmnn_loss, _LABELLED),
    "margin": Loss(triplets.margin_loss, _LABELLED),
    "multi_similarity": Loss(contrastive.multi_similarity_loss, _LABELLED),
    "n_pairs": Loss(contrastive.n_pairs_loss, _LABELLED),
    "normalized_softmax": Loss(classification.normalized_softmax_loss, _CLASSIFIED),
    "ntxent": Loss(contrastive.ntxent_loss, _LABELLED),
    "pkt": Loss(relational.pkt_loss, _TRANSFERRED),
    "proxy_anchor": Loss(proxies.proxy_anchor_loss, _CLASSIFIED),
    "proxy_nca": Loss(proxies.proxy_nca_loss, _CLASSIFIED),
    "relaxed_contrastive": Loss(relational.relaxed_contrastive_loss, _TRANSFERRED),
    "rkd_angle": Loss(rkd.rkd_angle_loss, _TRANSFERRED),
    "rkd_distance": Loss(rkd.rkd_distance_loss, _TRANSFERRED),
    "similarity_match": Loss(relational.similarity_match_loss, _TRANSFERRED),
    "similarity_preserving": Loss(relational.similarity_preserving_loss, _TRANSFERRED),
    "smooth_ap": Loss(average_precision.smooth_ap_loss, _LABELLED),
    "soft_triple": Loss(centers.soft_triple_loss, _CLASSIFIED),
    "softmax": Loss(classification.softmax_loss, _CLASSIFIED),
    "sphereface": Loss(multiplied_angles.sphereface_loss, _CLASSIFIED),
    "sub_center_arcface": Loss(centers.sub_center_arcface_loss, _CLASSIFIED),
    "supcon": Loss(contrastive.supcon_loss, _LABELLED),
    "triplet": Loss(triplets.triplet_loss, _LABELLED),
    "tuplet_margin": Loss(tuplets.tuplet_margin_loss, _LABELLED),
    "vicreg": Loss(variance.vicreg_loss, _TRANSFERRED),
}

# Losses whose class logits `kd` can compare.
LOGITS: dict[str, Callable[..., jax.Array]] = {
    "normalized_softmax": classification.normalized_softmax_logits,
    "softmax": classification.softmax_logits,
}


# What `combine` reads of an entry; all else are arguments of the loss.
_COMBINED = ("weight", "prefixes", "embeddings")
# What an entry's "embeddings" may name: the embedding on either side of a head's batch norm.
HEAD_STAGES = ("before_norm", "after_norm")


def loss_arguments(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a loss in its entry of `combine`.

    Example:
      >>> loss_arguments({"weight": 2.0, "prefixes": (8, 4), "margin": 0.1})
      {'margin': 0.1}
    """
    return {name: value for name, value in entry.items() if name not in _COMBINED}


def loss_inputs(name: str, entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the arrays that a loss takes by its entry of `combine`.

    Example:
      >>> loss_inputs("triplet", {"weight": 1.0, "embeddings": "before_norm"})
      ('before_norm', 'labels')
    """
    seen = entry.get("embeddings", "embeddings")
    return tuple(seen if each == "embeddings" else each for each in LOSSES[name].inputs)


def centers_of(name: str, entry: Mapping[str, Any]) -> int:
    """How many class weights a loss holds for each class.

    Args:
      name: of the loss; one that is not in LOSSES has what its entry says.
      entry: of `combine`.

    Example:
      >>> centers_of("sub_center_arcface", {}), centers_of("arcface", {})
      (3, 1)
    """
    known = inspect.signature(LOSSES[name].function).parameters if name in LOSSES else {}
    return entry.get("centers", known["centers"].default if "centers" in known else 1)


def class_logits(
    loss: str, embeddings: jax.Array, class_weights: jax.Array, **arguments: Any
) -> jax.Array:
    """Class logits as a classification loss computes them, for `kd_loss`.

    Args:
      loss: "softmax" or "normalized_softmax".
      embeddings: [batch, dim].
      class_weights: [dim, classes].
      **arguments: of the loss.

    Returns:
      [batch, classes].
    """
    return LOGITS[loss](embeddings, class_weights, **arguments)


def combine(
    losses: Mapping[str, Any],
) -> Callable[..., tuple[jax.Array, dict[str, jax.Array]]]:
    """The weighted sum of named losses as one function.

    sum_i weight_i(step) * loss_i

    Args:
      losses: name in LOSSES -> {"weight": a number or a function of the step (an optax schedule),
        and the loss's keyword arguments}, or the weight alone. "prefixes", sizes such as
        (64, 32, 16), makes it the sum of the loss over the first components of the embedding, each
        prefix brought to length 1 (Kusupati et al., Matryoshka representation learning, 2022).
        "embeddings" names the array that stands in for "embeddings", such as "before_norm".

    Returns:
      `sum_of(arrays, *, step=0, key=None, where=None, weights=None, labelled=None)` -> (sum, value
      of each loss by name, not times its weight). `where` and `weights`, of the rows, go to every
      loss. `labelled` is the number of rows, the first ones, that have labels, None: all; a loss
      that compares with a teacher and takes no labels sees all rows, any other one these alone.
      `arrays` holds what the losses take by name (`loss_inputs`); "class_weights" is an
      array, or a mapping by loss where several losses have their own. The key is split, so that
      every loss draws its own. Raises ValueError if an array is missing, if there is one array of
      class weights for several losses, or if a loss's `reduce_fn` gives no scalar, as None does.

    Raises:
      ValueError: a name is not in LOSSES; a loss has no weight; or it takes no embeddings, and its
        entry says which.

    Example:
      >>> import jax.numpy as jnp
      >>> sum_of = combine({
      ...     "supcon": {"weight": 1.0, "temperature": 0.5},
      ...     "rkd_distance": {"weight": lambda step: 0.1 * step}})
      >>> embeddings = jnp.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
      >>> arrays = {"embeddings": embeddings, "labels": jnp.array([0, 0, 1, 1]),
      ...           "teacher_embeddings": embeddings[::-1]}
      >>> value, parts = sum_of(arrays, step=2)
      >>> sorted(parts)
      ['rkd_distance', 'supcon']
      >>> bool(jnp.isclose(value, parts["supcon"] + 0.2 * parts["rkd_distance"]))
      True
    """
    losses = {name: x if isinstance(x, Mapping) else {"weight": x} for name, x in losses.items()}
    for name, arguments in losses.items():
        if name not in LOSSES:
            near = difflib.get_close_matches(name, LOSSES, 1, 0.0)[0]
            raise ValueError(
                f"losses: unknown name {name!r}, nearest {near!r}; valid: {', '.join(LOSSES)}"
            )
        if "weight" not in arguments:
            raise ValueError(
                f"losses: {name} has no weight; give a number or a function of the step"
            )
        for field in ("prefixes", "embeddings"):
            if field in arguments and "embeddings" not in LOSSES[name].inputs:
                raise ValueError(
                    f"losses: {name} takes no embeddings of a student's; leave its {field} out"
                )

    def sum_of(
        arrays: Mapping[str, Any],
        *,
        step: jax.Array | int = 0,
        key: jax.Array | None = None,
        where: jax.Array | None = None,
        weights: jax.Array | None = None,
        labelled: int | None = None,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        # A loss of one's own need not take weights before they are given.
        rows = {"where": where} | ({} if weights is None else {"weights": weights})
        parts = {True: {**arrays, **rows}, False: first_rows({**arrays, **rows}, labelled)}
        seen = {name: parts[sees_unlabelled(name)] for name in losses}
        inputs = {name: _inputs(name, seen[name], losses) for name in losses}
        keys = [None] * len(losses) if key is None else list(jax.random.split(key, len(losses)))
        values: dict[str, jax.Array] = {}
        sum_ = jnp.zeros(())
        for (name, arguments), own_key in zip(losses.items(), keys, strict=True):
            loss = LOSSES[name]
            options = loss_arguments(arguments)
            options |= {k: seen[name][k] for k in rows}
            if "key" in inspect.signature(loss.function).parameters:
                options["key"] = own_key
            # So that a trace of the run, or its program, tells whose time it is.
            with jax.named_scope(name):
                given = [
                    prefix_of(inputs[name], loss.inputs, size)
                    for size in arguments.get("prefixes", ())
                ] or [inputs[name]]
                values[name] = functools.reduce(
                    operator.add, (loss.function(*each, **options) for each in given)
                )
            if values[name].shape:
                raise ValueError(
                    f"losses: {name} gives shape {list(values[name].shape)}, expected a scalar; "
                    "give it another reduce_fn"
                )
            weight = arguments["weight"]
            factor: Any = weight(step) if callable(weight) else weight
            sum_ = sum_ + factor * values[name]
        return sum_, values

    return sum_of


def sees_unlabelled(name: str) -> bool:
    """Whether a loss of LOSSES learns from images without labels: it compares with a teacher alone.

    Example:
      >>> sees_unlabelled("rkd_angle"), sees_unlabelled("triplet")
      (True, False)
    """
    inputs = LOSSES[name].inputs
    return "labels" not in inputs and any(array.startswith("teacher_") for array in inputs)


def first_rows(arrays: Mapping[str, Any], count: int | None) -> dict[str, Any]:
    """The first rows of all arrays but "class_weights", which has none; None: as they are."""
    if count is None:
        return {**arrays}
    return {
        name: array if name == "class_weights" else jax.tree.map(lambda x: x[:count], array)
        for name, array in arrays.items()
    }


def _inputs(name: str, arrays: Mapping[str, Any], losses: Mapping[str, Any]) -> list[Any]:
    """The arrays of a loss, in order."""
    inputs = loss_inputs(name, losses[name])
    missing = [f'"{each}"' for each in inputs if each not in arrays]
    if missing:
        raise ValueError(
            f"arrays: {name} takes {', '.join(missing)}, and there are only {', '.join(arrays)}"
        )
    return [
        _weights(name, arrays[x], losses) if x == "class_weights" else arrays[x] for x in inputs
    ]


def _weights(name: str, weights: Any, losses: Mapping[str, Any]) -> Any:
    """The class weights of a loss."""
    if not isinstance(weights, Mapping):
        sharing = [each for each in losses if "class_weights" in LOSSES[each].inputs]
        if len(sharing) > 1:
            raise ValueError(
                f"class_weights: got one array for {', '.join(sharing)}; give a mapping by loss"
            )
        return weights
    if name not in weights:
        raise ValueError(f"class_weights: there are none for {name}; give a mapping by loss")
    return weights[name]
