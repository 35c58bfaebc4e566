"""CUB-200-2011 as RKD's authors transfer on it: a triplet ResNet-50 teaches a ResNet-18.

Does the student reach its teacher by distances and angles alone (Park et al., CVPR 2019)? DIR holds
the authors' CUB_200_2011.tgz, and the weights are torchvision's of ImageNet.

Certain: a teacher of 512 numbers and length 1 by triplets, distance-weighted, with margin 0.2; a
student without normalization and without a loss on labels; batches of 128; Adam; crops of 224
pixels and flips. From memory, to be checked against the paper before a result is called theirs: the
weights of distance and angle, 1 and 2 (25 and 50 are of their classification); the learning rate
and its two falls; the length, theirs counted in rounds of 100 batches; images of a class in a
batch.

Command:   python -m darkrank_jax.main --config configs/cub_rkd.py --config.data.path=DIR \
               --config.weights.path=resnet18.safetensors \
               --config.teacher.weights.path=resnet50.safetensors
Hardware:  a GPU or TPU
Time:      not measured; `--mode plan` estimates it
Result:    not run
"""

from ml_collections import ConfigDict

from configs import cub_resnet50_to_resnet18 as cub
from configs import default


def get_config() -> ConfigDict:
    student = _common("resnet18", 128)
    student.model.normalize = False
    student.losses = ConfigDict({"rkd_distance": {"weight": 1.0}, "rkd_angle": {"weight": 2.0}})
    student.teacher = _common("resnet50", 512)
    student.teacher.losses = ConfigDict(
        {"triplet": {"weight": 1.0, "margin": 0.2, "mining": "distance_weighted"}}
    )
    default.share_images(student)
    return student.lock()


def _common(model: str, embedding_dim: int) -> ConfigDict:
    """What teacher and student share."""
    config = cub.common("cub200", model, embedding_dim)
    config.data.augmentation = ConfigDict(
        {"resized_random_crop": {"share": 0.875}, "horizontal_flip": {}}
    )
    config.steps, config.epochs = 0, 80.0
    config.optimizer = ConfigDict({"name": "adamw", "weight_decay": 0.0})
    config.schedule = ConfigDict({"name": "staircase", "boundaries": (0.5, 0.75)})
    config.clip_norm = 0.0
    config.eval_every = 200
    return config
