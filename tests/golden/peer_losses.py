"""Makes peer_losses.npz and its part of cases.json: losses of pytorch-metric-learning, and
sentence-transformers' Matryoshka loss around two of them.

    pip install torch pytorch-metric-learning==2.9.0 sentence-transformers==6.2.0 numpy
    python tests/golden/peer_losses.py

Hyperparameters go by the names here; angles are in radians here and in degrees there.
"""

import json
import math
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
CLASSES, DIM = 5, 6
SIZES = (6, 4, 2)
SOURCE = "pytorch-metric-learning 2.9.0; gradient with respect to the first input"
# Case -> hyperparameters.
CASES = {
    "angular_0": {"angle": math.radians(40)},
    "angular_1": {"angle": math.radians(55)},
    "contrastive_hard_0": {"pos_margin": 0.1, "neg_margin": 0.9},
    "margin_hard_0": {"margin": 0.3, "beta": 0.9},
    "ntxent_hard_0": {"temperature": 0.3},
    "ntxent_mined_0": {"temperature": 0.3},
    "supcon_mined_0": {"temperature": 0.2},
    "tuplet_margin_mined_0": {"margin": 0.1, "scale": 8.0},
    "fast_ap_0": {"num_bins": 10},
    "fast_ap_1": {"num_bins": 7},
    "lifted_structure_0": {"pos_margin": 0.0, "neg_margin": 1.0},
    "lifted_structure_1": {"pos_margin": 0.3, "neg_margin": 0.8},
    "soft_triple_0": {"centers": 10, "margin": 0.01, "scale": 20.0, "temperature": 0.1},
    "soft_triple_1": {"centers": 3, "margin": 0.2, "scale": 7.0, "temperature": 0.5},
    "sphereface_0": {"margin": 4, "scale": 1.0},
    "sphereface_1": {"margin": 3, "scale": 2.0},
    "sub_center_arcface_0": {"centers": 3, "margin": math.radians(28.6), "scale": 64.0},
    "sub_center_arcface_1": {"centers": 2, "margin": 0.3, "scale": 8.0},
    "tuplet_margin_0": {"margin": math.radians(5.73), "scale": 64.0},
    "tuplet_margin_1": {"margin": 0.3, "scale": 10.0},
    "vicreg_0": {"invariance_weight": 25.0, "variance_weight": 25.0, "covariance_weight": 1.0},
    "vicreg_1": {"invariance_weight": 3.0, "variance_weight": 7.0, "covariance_weight": 2.0},
}


def loss_of(name, hyper):
    """The loss of a case."""
    from pytorch_metric_learning import losses

    degrees = {key: math.degrees(hyper[key]) for key in ("angle", "margin") if key in hyper}
    classes = {"num_classes": CLASSES, "embedding_size": DIM}
    return {
        "angular": lambda: losses.AngularLoss(alpha=degrees["angle"]),
        "contrastive": lambda: losses.ContrastiveLoss(**hyper),
        "margin": lambda: losses.MarginLoss(**hyper),
        "ntxent": lambda: losses.NTXentLoss(**hyper),
        "supcon": lambda: losses.SupConLoss(**hyper),
        "fast_ap": lambda: losses.FastAPLoss(**hyper),
        "lifted_structure": lambda: losses.LiftedStructureLoss(**hyper),
        "soft_triple": lambda: losses.SoftTripleLoss(
            **classes,
            centers_per_class=hyper["centers"],
            la=hyper["scale"],
            gamma=hyper["temperature"],
            margin=hyper["margin"],
        ),
        "sphereface": lambda: losses.SphereFaceLoss(**classes, **hyper),
        "sub_center_arcface": lambda: losses.SubCenterArcFaceLoss(
            **classes,
            sub_centers=hyper["centers"],
            margin=degrees["margin"],
            scale=hyper["scale"],
        ),
        "tuplet_margin": lambda: losses.TupletMarginLoss(
            margin=degrees["margin"], scale=hyper["scale"]
        ),
        "vicreg": lambda: losses.VICRegLoss(
            invariance_lambda=hyper["invariance_weight"],
            variance_mu=hyper["variance_weight"],
            covariance_v=hyper["covariance_weight"],
        ),
    }[name]()


def evaluated(name, hyper, rng):
    """Inputs, value and gradient of a case."""
    import torch
    from pytorch_metric_learning.losses import VICRegLoss
    from pytorch_metric_learning.miners import BatchHardMiner, MultiSimilarityMiner

    miners = {"hard": BatchHardMiner(), "mined": MultiSimilarityMiner(epsilon=0.1)}
    name, _, mining = name.rpartition("_") if name.endswith(("_hard", "_mined")) else (name, "", "")
    loss = loss_of(name, hyper).double()
    student = torch.tensor(rng.normal(size=(12, DIM)) * 0.7, requires_grad=True)
    if isinstance(loss, VICRegLoss):
        teacher = torch.tensor(rng.normal(size=(12, DIM)) * 0.9)
        arrays, value = {"student": student, "teacher": teacher}, loss(student, ref_emb=teacher)
    else:
        labels = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 4])
        arrays = {"embeddings": student, "labels": labels}
        for parameter in loss.parameters():
            drawn = torch.tensor(rng.normal(size=parameter.shape))
            parameter.data = drawn
            arrays["W"] = drawn
        # There the negatives of the angular loss keep their lengths.
        unit = torch.nn.functional.normalize(student) if name == "angular" else student
        pairs = miners[mining](student, labels) if mining else None
        value = loss(unit, labels, pairs)
    value.backward()
    arrays = {key: tensor.detach().numpy() for key, tensor in arrays.items()}
    return arrays, {"value": value.item(), "grad": student.grad.numpy()}


def matryoshka(rng):
    """Sums of NT-Xent and of proxy-less contrastive loss over prefixes of the embedding."""
    import torch
    from pytorch_metric_learning import losses
    from sentence_transformers.losses import MatryoshkaLoss

    class Given(torch.nn.Module):
        """A model whose embeddings are its input."""

        def forward(self, features):
            return {"sentence_embedding": features["embeddings"]}

        def get_embedding_dimension(self):
            return DIM

        get_sentence_embedding_dimension = get_embedding_dimension

    class Labelled(torch.nn.Module):
        """A loss of pytorch-metric-learning in sentence-transformers' form."""

        def __init__(self, model, loss):
            super().__init__()
            self.model, self.loss = model, loss

        def forward(self, features, labels):
            return self.loss(self.model(features[0])["sentence_embedding"], labels)

    embeddings = torch.tensor(rng.normal(size=(12, DIM)), requires_grad=True)
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 4])
    model, value = Given(), 0
    for loss in (losses.NTXentLoss(temperature=0.2), losses.ContrastiveLoss(0.1, 0.9)):
        wrapped = MatryoshkaLoss(model, Labelled(model, loss.double()), list(SIZES))
        value = value + wrapped([{"embeddings": embeddings}], labels)
    value.backward()
    arrays = {"embeddings": embeddings.detach().numpy(), "labels": labels.numpy()}
    return arrays, {"value": value.item(), "grad": embeddings.grad.numpy()}


def main() -> None:
    """Writes all cases."""
    rng = np.random.default_rng(27)
    written, listed = {}, {}
    for case, hyper in CASES.items():
        arrays, found = evaluated(case.rsplit("_", 1)[0], hyper, rng)
        written |= {f"{case}/{key}": array for key, array in (arrays | found).items()}
        listed[case] = {"hyper": hyper, "source": SOURCE, "inputs": list(arrays)}
    arrays, found = matryoshka(rng)
    written |= {f"matryoshka/{key}": array for key, array in (arrays | found).items()}
    np.savez_compressed(FOLDER / "peer_losses.npz", **written)
    table = json.loads((FOLDER / "cases.json").read_text())
    table["peer_losses"] = listed
    (FOLDER / "cases.json").write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
