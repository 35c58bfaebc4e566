"""Golden values and gradients of losses, in float64 and float32."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax import losses

GOLDEN = Path(__file__).parent.parent / "golden"
CASES = json.loads((GOLDEN / "cases.json").read_text())
FAMILIES = ("darkrank", "transfer", "metric_learning", "peer_losses")

_MULTI_SIMILARITY = {"mining": "multi_similarity"}
# Case name without its number -> (loss, its arrays in order, hyperparameters under our names).
HOW = {
    "hard": ("darkrank_hard_loss", ("student", "teacher"), {}, {}),
    "soft": ("darkrank_soft_loss", ("student", "teacher"), {}, {}),
    "official_listnet": (
        "darkrank_soft_loss",
        ("student", "teacher"),
        {"queries": "num_anchors"},
        {"cross_entropy": True},
    ),
    "rkd_distance": ("rkd_distance_loss", ("student", "teacher"), {}, {}),
    "rkd_angle": ("rkd_angle_loss", ("student", "teacher"), {}, {}),
    "pkt": ("pkt_loss", ("student", "teacher"), {}, {}),
    "similarity_preserving": ("similarity_preserving_loss", ("student", "teacher"), {}, {}),
    "correlation_congruence": ("correlation_congruence_loss", ("student", "teacher"), {}, {}),
    "relaxed_contrastive": (
        "relaxed_contrastive_loss",
        ("student", "teacher"),
        {"delta": "margin"},
        {},
    ),
    "kd": ("kd_loss", ("student", "teacher"), {}, {}),
    "attention": ("attention_transfer_loss", ("student", "teacher"), {"p": "power"}, {}),
    "contrastive": ("contrastive_loss", ("embeddings", "labels"), {}, {}),
    "triplet_all": ("triplet_loss", ("embeddings", "labels"), {}, {}),
    "triplet_batch_hard": ("triplet_loss", ("embeddings", "labels"), {}, {"mining": "hard"}),
    "margin": ("margin_loss", ("embeddings", "labels"), {}, {}),
    "multi_similarity": ("multi_similarity_loss", ("embeddings", "labels"), {}, {}),
    "ntxent": ("ntxent_loss", ("embeddings", "labels"), {}, {}),
    "supcon": ("supcon_loss", ("embeddings", "labels"), {}, {}),
    "circle": ("circle_loss", ("embeddings", "labels"), {"m": "margin", "gamma": "scale"}, {}),
    "proxy_anchor": (
        "proxy_anchor_loss",
        ("embeddings", "labels", "proxies"),
        {"alpha": "scale"},
        {},
    ),
    "proxy_nca": (
        "proxy_nca_loss",
        ("embeddings", "labels", "proxies"),
        {"softmax_scale": "scale"},
        {},
    ),
    "normalized_softmax": ("normalized_softmax_loss", ("embeddings", "labels", "W"), {}, {}),
    "arcface": ("arcface_loss", ("embeddings", "labels", "W"), {}, {}),
    "cosface": ("cosface_loss", ("embeddings", "labels", "W"), {}, {}),
    "contrastive_hard": ("contrastive_loss", ("embeddings", "labels"), {}, {"mining": "hard"}),
    "margin_hard": ("margin_loss", ("embeddings", "labels"), {}, {"mining": "hard"}),
    "ntxent_hard": ("ntxent_loss", ("embeddings", "labels"), {}, {"mining": "hard"}),
    "ntxent_mined": ("ntxent_loss", ("embeddings", "labels"), {}, _MULTI_SIMILARITY),
    "supcon_mined": ("supcon_loss", ("embeddings", "labels"), {}, _MULTI_SIMILARITY),
    "tuplet_margin_mined": (
        "tuplet_margin_loss",
        ("embeddings", "labels"),
        {},
        _MULTI_SIMILARITY,
    ),
    "angular": ("angular_loss", ("embeddings", "labels"), {}, {}),
    "fast_ap": ("fast_ap_loss", ("embeddings", "labels"), {}, {}),
    "lifted_structure": ("lifted_structure_loss", ("embeddings", "labels"), {}, {}),
    "soft_triple": ("soft_triple_loss", ("embeddings", "labels", "W"), {}, {}),
    "sphereface": ("sphereface_loss", ("embeddings", "labels", "W"), {}, {}),
    "sub_center_arcface": ("sub_center_arcface_loss", ("embeddings", "labels", "W"), {}, {}),
    "tuplet_margin": ("tuplet_margin_loss", ("embeddings", "labels"), {}, {}),
    "vicreg": ("vicreg_loss", ("student", "teacher"), {}, {}),
    "large_margin_softmax": ("large_margin_softmax_loss", ("embeddings", "labels", "W"), {}, {}),
}
ALL = [(family, case) for family in FAMILIES for case in CASES[family]]


def loss_of(case):
    """The name of a case's loss, of `losses`."""
    return HOW[case.rsplit("_", 1)[0]][0]


_SLOW = pytest.mark.slow


def golden_cases(module):
    """Tests of a module of losses on its golden cases, of two types of numbers each."""
    cases = [
        each for each in ALL if getattr(losses, loss_of(each[1])).__module__ == module.__name__
    ]
    assert cases
    return pytest.mark.parametrize(
        ("dtype", "family", "case"),
        [
            pytest.param(dtype, *case, marks=() if dtype == "float64" or not place else _SLOW)
            for dtype in ("float64", "float32")
            for place, case in enumerate(cases)
        ],
    )


def evaluate(family, case, dtype):
    loss, inputs, renamed, added = HOW[case.rsplit("_", 1)[0]]
    hyper = CASES[family][case]["hyper"] | added
    hyper = {renamed.get(name, name): value for name, value in hyper.items()}
    if loss == "arcface_loss":
        hyper["margin"] = math.radians(hyper["margin"])  # degrees there
    with np.load(GOLDEN / f"{family}.npz") as golden:
        arrays = [golden[f"{case}/{name}"] for name in inputs]
        value = golden[f"{case}/value"]
        gradient = golden[f"{case}/grad"] if f"{case}/grad" in golden.files else None
    # proxies are one row a class there, and one column a class here
    arrays = [a.T if name == "proxies" else a for name, a in zip(inputs, arrays, strict=True)]
    arrays = [jnp.asarray(a, dtype if a.dtype.kind == "f" else jnp.int32) for a in arrays]
    function = jax.jit(jax.value_and_grad(lambda x: getattr(losses, loss)(x, *arrays[1:], **hyper)))
    return *function(arrays[0]), value, gradient


def check_golden(family, case, dtype):
    """Value and gradient of a case, in one type of numbers."""
    with jax.enable_x64(dtype == "float64"):
        found, slope, value, gradient = evaluate(family, case, dtype)
    assert found.dtype == dtype
    rtol = {"float64": 1e-6, "float32": 1e-4}[dtype]
    np.testing.assert_allclose(found, value, rtol=rtol)
    if gradient is not None:
        np.testing.assert_allclose(slope, gradient, rtol=rtol, atol=rtol * np.abs(gradient).max())
