"""Evaluation of embeddings: retrieval, re-identification, clustering, agreement, a report."""

from darkrank_jax.evaluation.agreement import cross_recall, rank_agreement
from darkrank_jax.evaluation.clustering import clustering_metrics
from darkrank_jax.evaluation.intervals import bootstrap_interval, paired_difference
from darkrank_jax.evaluation.neighbors import nearest_neighbors
from darkrank_jax.evaluation.query_expansion import expand_queries
from darkrank_jax.evaluation.reid import reid_metrics, single_shot_cmc
from darkrank_jax.evaluation.reranking import rerank
from darkrank_jax.evaluation.retrieval import retrieval_metrics
from darkrank_jax.evaluation.verification import verification_metrics

__all__ = [
    "bootstrap_interval",
    "clustering_metrics",
    "cross_recall",
    "expand_queries",
    "nearest_neighbors",
    "paired_difference",
    "rank_agreement",
    "reid_metrics",
    "rerank",
    "retrieval_metrics",
    "single_shot_cmc",
    "verification_metrics",
]
