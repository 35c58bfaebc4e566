"""Small batches for every loss of the table, and the options that lead to other code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax import losses

BATCH, CLASSES = 8, 3
# A batch of four classes, one of them of one row, in float64; class weights are of five classes.
_RNG = np.random.default_rng(7)
X, TEACHER = _RNG.normal(size=(2, 10, 4))
LABELS = np.array([0, 1, 1, 2, 0, 1, 3, 2, 0, 1])
WEIGHTS = _RNG.normal(size=(4, 5))
# Options that lead to other code, beside every loss of the table with its defaults.
VARIANTS = {name: (name, {}) for name in losses.LOSSES} | {
    "darkrank_hard stratified": ("darkrank_hard", {"list_selection": "stratified", "list_size": 3}),
    "darkrank_hard mean": ("darkrank_hard", {"calibration": "mean", "alpha": 2.0, "beta": 1.5}),
    "darkrank_hard whole": ("darkrank_hard", {"list_size": None}),
    "darkrank_soft sampled": ("darkrank_soft", {"method": "sampled", "list_size": None}),
    "darkrank_soft top_one": ("darkrank_soft", {"method": "top_one", "num_anchors": 5}),
    "triplet hard": ("triplet", {"mining": "hard"}),
    "triplet semi_hard": ("triplet", {"mining": "semi_hard", "normalize_embeddings": False}),
    "triplet distance_weighted": ("triplet", {"mining": "distance_weighted"}),
    "contrastive hard": ("contrastive", {"mining": "hard"}),
    "margin distance_weighted": ("margin", {"mining": "distance_weighted"}),
    "ntxent multi_similarity": ("ntxent", {"mining": "multi_similarity"}),
    "multi_similarity mined": ("multi_similarity", {"epsilon": 0.1}),
    "soft_triple": ("soft_triple", {"centers": 2}),
    "sub_center_arcface": ("sub_center_arcface", {"centers": 2}),
    "n_pairs l2": ("n_pairs", {"l2_weight": 0.3}),
    "correlation_congruence gaussian": ("correlation_congruence", {"kernel": "gaussian"}),
}
# Losses of scores, which are not in the table.
SCORES = {"listmle": losses.listmle_loss, "permutation_kl": losses.permutation_kl_loss}
RANDOM = {"darkrank_soft sampled", "margin distance_weighted", "triplet distance_weighted"}


# One of each family: pairs, triplets, lists of scores and of distances, classes, distillation of
# embeddings, of maps and of logits. Tests that compile a program of their own are quick on these.
QUICK = {
    "attention_transfer", "contrastive", "darkrank_hard", "kd", "listmle", "normalized_softmax",
    "pkt", "proxy_anchor", "rkd_distance", "triplet",
}  # fmt: skip


def over(variants, *, quick=None):
    """Tests of one variant go to one worker, which compiles it once; all but `quick` are slow."""

    def marks(name):
        group = [pytest.mark.xdist_group(name)]
        return group if quick is None or name in quick else [*group, pytest.mark.slow]

    marked = [pytest.param(name, marks=marks(name)) for name in variants]
    return pytest.mark.parametrize("variant", marked)


def arrays_of(batch=BATCH, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {
        "embeddings": (batch, 5),
        "features": (batch, 4),
        "logits": (batch, CLASSES),
        "maps": (batch, 3, 2, 4),
        "scores": (batch, 4),
    }
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    teachers = {
        f"teacher_{name}": rng.normal(size=shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    labels = np.arange(batch, dtype=np.int32)[::-1] % CLASSES
    # A class for each row, should all labels differ.
    weights = rng.normal(size=(5, BATCH)).astype(np.float32)
    arrays["student_scores"] = arrays.pop("scores")
    return arrays | teachers | {"labels": labels, "class_weights": weights}


def unlabelled_batch(batch=9):
    """Embeddings of a student and of a wider teacher, float64 where JAX has it."""
    rng = np.random.default_rng(5)
    return jnp.asarray(rng.normal(size=(batch, 4))), jnp.asarray(rng.normal(size=(batch, 6)))


def call_of(variant):
    """A loss of a variant, or of scores, as a function of its arrays and keyword arguments."""
    if variant in SCORES:
        function, inputs, options = SCORES[variant], ("student_scores", "teacher_scores"), {}
    else:
        name, options = VARIANTS[variant]
        function, inputs = losses.LOSSES[name]
    if variant in RANDOM:
        options = options | {"key": jax.random.key(3)}

    def call(arrays, **given):
        return function(*inputs_of(arrays, inputs, options), **options, **given)

    return call


def inputs_of(arrays, inputs, options):
    """Arrays of a loss in order; of class weights each loss has as many as it has centers."""
    found = [arrays[array] for array in inputs]
    if "centers" in options:
        weights = jnp.asarray(found[-1])
        others = [jnp.roll(weights, shift, axis=0) for shift in range(options["centers"])]
        found[-1] = jnp.stack(others, -1).reshape(len(weights), -1)
    return found


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def tight(dim, gap, seed):
    """Unit vectors of three classes of four, those of a class some gap apart."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(unit(rng.normal(size=(3, dim))), 4, axis=0)
    steps = gap * unit(rng.normal(size=(12, dim))) * rng.uniform(0.5, 1, size=(12, 1))
    return unit(centres + steps).astype(np.float32)


def relative(found, exact):
    return np.linalg.norm(np.asarray(found, float) - exact) / np.linalg.norm(exact)
