"""Metric-learning and distillation losses: pure functions on arrays that need jax alone.

Arrays are positional, everything else is keyword-only; every loss takes `where` (which rows count)
and `reduce_fn`, computes in at least float32, and stops the gradient at the teacher.
"""

from darkrank_jax.losses import memory
from darkrank_jax.losses.average_precision import fast_ap_loss, smooth_ap_loss
from darkrank_jax.losses.centers import soft_triple_loss, sub_center_arcface_loss
from darkrank_jax.losses.classification import (
    arcface_loss,
    cosface_loss,
    normalized_softmax_logits,
    normalized_softmax_loss,
    softmax_logits,
    softmax_loss,
)
from darkrank_jax.losses.combination import (
    LOSSES,
    Loss,
    centers_of,
    class_logits,
    combine,
    loss_arguments,
)
from darkrank_jax.losses.contrastive import (
    circle_loss,
    contrastive_loss,
    multi_similarity_loss,
    n_pairs_loss,
    ntxent_loss,
    supcon_loss,
)
from darkrank_jax.losses.darkrank import (
    compatible_ranking_loss,
    darkrank_hard_loss,
    darkrank_soft_loss,
)
from darkrank_jax.losses.distillation import (
    attention_transfer_loss,
    embedding_match_loss,
    fitnet_loss,
    kd_loss,
)
from darkrank_jax.losses.internals.devices import gather_rows
from darkrank_jax.losses.multiplied_angles import large_margin_softmax_loss, sphereface_loss
from darkrank_jax.losses.pairwise import normalize
from darkrank_jax.losses.proxies import proxy_anchor_loss, proxy_nca_loss
from darkrank_jax.losses.ranking import listmle_loss, permutation_kl_loss
from darkrank_jax.losses.reductions import mean, mean_nonzero, total
from darkrank_jax.losses.relational import (
    correlation_congruence_loss,
    pkt_loss,
    relaxed_contrastive_loss,
    similarity_match_loss,
    similarity_preserving_loss,
)
from darkrank_jax.losses.rkd import rkd_angle_loss, rkd_distance_loss
from darkrank_jax.losses.triplets import lmnn_loss, margin_loss, triplet_loss
from darkrank_jax.losses.tuplets import angular_loss, lifted_structure_loss, tuplet_margin_loss
from darkrank_jax.losses.variance import vicreg_loss

__all__ = [
    "LOSSES",
    "Loss",
    "angular_loss",
    "arcface_loss",
    "attention_transfer_loss",
    "centers_of",
    "circle_loss",
    "class_logits",
    "combine",
    "compatible_ranking_loss",
    "contrastive_loss",
    "correlation_congruence_loss",
    "cosface_loss",
    "darkrank_hard_loss",
    "darkrank_soft_loss",
    "embedding_match_loss",
    "fast_ap_loss",
    "fitnet_loss",
    "gather_rows",
    "kd_loss",
    "large_margin_softmax_loss",
    "lifted_structure_loss",
    "listmle_loss",
    "lmnn_loss",
    "loss_arguments",
    "margin_loss",
    "mean",
    "mean_nonzero",
    "memory",
    "multi_similarity_loss",
    "n_pairs_loss",
    "normalize",
    "normalized_softmax_logits",
    "normalized_softmax_loss",
    "ntxent_loss",
    "permutation_kl_loss",
    "pkt_loss",
    "proxy_anchor_loss",
    "proxy_nca_loss",
    "relaxed_contrastive_loss",
    "rkd_angle_loss",
    "rkd_distance_loss",
    "similarity_match_loss",
    "similarity_preserving_loss",
    "smooth_ap_loss",
    "soft_triple_loss",
    "softmax_logits",
    "softmax_loss",
    "sphereface_loss",
    "sub_center_arcface_loss",
    "supcon_loss",
    "total",
    "triplet_loss",
    "tuplet_margin_loss",
    "vicreg_loss",
]
