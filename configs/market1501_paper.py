"""Market-1501 as DarkRank's authors train on it: Inception-BN teaches NIN-BN.

DIR holds Market-1501-v15.09.15.zip, and the weights are of ImageNet, as the authors start from
(their 1e-2 alone and 5e-4 distilled are meant for them).

Resolution, crops, batches, losses, optimizer, schedule and the weights of the losses are those of
the authors' code and its README. What differs: their large-margin softmax is annealed, ours is not,
and it sees embeddings of length 1 like the other losses, with a scale instead of their length;
their dropout before the second loss is left out; they clip each number of the gradient at 10, here
it is the norm of the whole.

Command:   python -m darkrank_jax.main --config configs/market1501_paper.py \
               --config.data.path=DIR \
               --config.weights.path=nin.safetensors \
               --config.teacher.weights.path=inception_bn.safetensors
Hardware:  a GPU or TPU
Time:      not measured; `--mode plan` estimates it
Result:    not run at full size yet
"""

from ml_collections import ConfigDict

from configs import default

# Pairs of the same person, of which each image is an anchor, and as many other images.
PAIRED = 4
LABELLED = {
    "large_margin_softmax": {"weight": 1.0, "margin": 3, "scale": 16.0},
    # Half of d_ap^2 + 0.1 max(0, d_ap^2 - d_an^2 + 2 * 0.9).
    "lmnn": {"weight": 0.55, "margin": 1.8, "push_weight": 1 / 11, "num_anchors": PAIRED},
}
# Scores -(3.5 d^2)^2, lists of 4, the paired half of the batch as queries.
DARKRANK = {
    "weight": 16.0,
    "alpha": 12.25,
    "beta": 4.0,
    "list_size": 4,
    "num_anchors": PAIRED,
}
# The authors' 100 epochs of 13,314 pairs in batches of 8.
STEPS = 100 * 3328


def get_config() -> ConfigDict:
    student = _common("nin_bn")
    student.losses = ConfigDict({**LABELLED, "darkrank_soft": DARKRANK})
    student.learning_rate = 5e-4
    student.baseline = ConfigDict(LABELLED)
    student.teacher = _common("inception_bn")
    student.teacher.losses = ConfigDict(LABELLED)
    default.share_images(student)
    return student.lock()


def _common(model: str) -> ConfigDict:
    """What teacher and student share."""
    config = default.get_config().unlock()
    # The pooled 1024 features are the embedding.
    config.model.update({"name": model, "embedding_dim": 0})
    config.data.source = "market1501"
    config.data.options = ConfigDict({"center_crop": 0.875})
    config.data.image_size = (224, 112)
    config.data.mean = 128 / 255
    config.data.std = 1 / 255
    config.data.batch_size = 8
    config.data.images_per_class = 2
    config.data.sampler = ConfigDict({"name": "p_x_k", "others": 8 - PAIRED})
    # 224x112 of 256x128 pixels.
    config.data.augmentation = ConfigDict(
        {"resized_random_crop": {"share": 0.875}, "horizontal_flip": {}}
    )
    config.data.num_workers = 4
    config.steps = STEPS
    config.optimizer = ConfigDict({"name": "sgd", "momentum": 0.9, "weight_decay": 1e-4})
    config.learning_rate = 1e-2
    config.schedule = ConfigDict({"name": "staircase", "boundaries": (0.5, 0.75)})
    config.clip_norm = 10.0
    config.eval_every = 10 * 3328
    return config
