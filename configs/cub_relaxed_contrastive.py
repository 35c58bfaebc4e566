"""CUB-200-2011 by relaxed contrastive transfer: Inception-BN of 512 numbers becomes one of 64.

Does a student of an eighth of the numbers keep its teacher's order without labels (Kim et al.,
CVPR 2021)? DIR holds the authors' CUB_200_2011.tgz, and the weights are of ImageNet.

Certain: a teacher by proxy-anchor, with margin 0.1 and scale 32; the loss with sigma 1 and delta 1,
on a normalized teacher and a student that is not; no labels; AdamW; crops of 224 pixels and flips.
From memory, to be checked against the paper before a result is called theirs: the learning rate,
batch size, length and weight decay. Different for certain: the authors' batches are of images that
the teacher finds near each other, two views of each, and ours are random.

Command:   python -m darkrank_jax.main --config configs/cub_relaxed_contrastive.py \
               --config.data.path=DIR \
               --config.weights.path=inception_bn.safetensors \
               --config.teacher.weights.path=inception_bn.safetensors
Hardware:  a GPU or TPU
Time:      not measured; `--mode plan` estimates it
Result:    not run
"""

from ml_collections import ConfigDict

from configs import cub_resnet50_to_resnet18 as cub
from configs import default


def get_config() -> ConfigDict:
    student = _common(64)
    student.model.normalize = False
    student.data.sampler.name = "random"
    student.losses = ConfigDict(
        {"relaxed_contrastive": {"weight": 1.0, "sigma": 1.0, "margin": 1.0}}
    )
    student.teacher = _common(512)
    student.teacher.losses = ConfigDict(
        {"proxy_anchor": {"weight": 1.0, "margin": 0.1, "scale": 32.0}}
    )
    # Proxies begin far from the images of their classes.
    student.teacher.learning_rates = ConfigDict({"class_weights": 100.0})
    default.share_images(student)
    return student.lock()


def _common(embedding_dim: int) -> ConfigDict:
    """What teacher and student share."""
    config = cub.common("cub200", "inception_bn", embedding_dim)
    # Of weights from Caffe, with the first convolution turned to red first (docs/pretrained.md).
    config.data.mean = (128 / 255, 117 / 255, 104 / 255)
    config.data.std = 1 / 255
    config.steps, config.epochs = 0, 60.0
    config.schedule = ConfigDict({"name": "cosine"})
    config.warmup_epochs = 1.0
    config.eval_every = 200
    return config
