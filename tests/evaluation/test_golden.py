"""Every golden case of an evaluation; one without a function here fails."""

import json
from pathlib import Path

import numpy as np
import pytest

from darkrank_jax.evaluation.clustering import (
    adjusted_mutual_information,
    normalized_mutual_information,
    pairwise_f1,
)
from darkrank_jax.evaluation.reid import reid_means, reid_metrics, reid_values_of_distances
from darkrank_jax.evaluation.reranking import rerank
from darkrank_jax.evaluation.retrieval import retrieval_metrics

GOLDEN = Path(__file__).parent.parent / "golden"
CASES = json.loads((GOLDEN / "cases.json").read_text())["evaluation"]
RANKS = range(1, 21)


def retrieval(arrays):
    ks = (1, 2, 4, 8, 16, 32)
    found = retrieval_metrics(arrays["embeddings"], arrays["labels"], ks=ks)
    renamed = {"mean_average_precision_at_r": found["map_at_r"]}
    return {"value": [found[f"recall_at_{k}"] for k in ks]} | found | renamed


def clustering(arrays):
    groupings = arrays["clusters"], arrays["labels"]
    figures = (normalized_mutual_information, adjusted_mutual_information, pairwise_f1)
    return {"value": [figure(*groupings) for figure in figures]}


def reid(arrays):
    people = {
        "query_ids": arrays["query_ids"],
        "gallery_ids": arrays["gallery_ids"],
        "query_cameras": arrays["query_cameras"],
        "gallery_cameras": arrays["gallery_cameras"],
    }
    sets = arrays["query"], arrays["gallery"]
    found = reid_metrics(*sets, **people, ks=RANKS)
    distances = rerank(*sets)
    again = reid_means(reid_values_of_distances(distances, **people, ks=RANKS))
    return {
        "value": [found[f"cmc_at_{k}"] for k in RANKS],
        "mean_average_precision": found["mean_average_precision"],
        "mean_inverse_negative_penalty": found["mean_inverse_negative_penalty"],
        "reranked_distances": distances,
        "reranked_cmc": [again[f"cmc_at_{k}"] for k in RANKS],
        "reranked_mean_average_precision": again["mean_average_precision"],
    }


# Case name without its number -> what computes all its values by the name they have there.
HOW = {"retrieval": retrieval, "clustering": clustering, "reid": reid}


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_other_implementations(case):
    with np.load(GOLDEN / "evaluation.npz") as golden:
        arrays = {
            name.removeprefix(f"{case}/"): golden[name]
            for name in golden.files
            if name.startswith(f"{case}/")
        }
    expected = set(arrays) - set(CASES[case]["inputs"])
    assert "value" in expected
    found = HOW[case.rsplit("_", 1)[0]](arrays)
    for name in expected:
        # They were computed in float32, by differences of numbers around 1.
        atol = 1e-6 if name == "reranked_distances" else 0
        np.testing.assert_allclose(found[name], arrays[name], rtol=1e-5, atol=atol, err_msg=name)


def test_every_stored_value_belongs_to_a_case():
    with np.load(GOLDEN / "evaluation.npz") as golden:
        assert {name.split("/")[0] for name in golden.files} == set(CASES)
