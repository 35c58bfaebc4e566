"""CUB-200-2011: a ResNet-50 teaches a ResNet-18; classes 1 to 100 train, 101 to 200 test.

DIR holds the authors' CUB_200_2011.tgz and the weights are torchvision's of ImageNet, which the
learning rates are meant for.

Command:   python -m darkrank_jax.main --config configs/cub_resnet50_to_resnet18.py \
               --config.data.path=DIR \
               --config.weights.path=resnet18.safetensors \
               --config.teacher.weights.path=resnet50.safetensors
Hardware:  a GPU or TPU
Time:      not measured; `--mode plan` estimates it
Result:    not run at full size yet
"""

from ml_collections import ConfigDict

from configs import default

MULTI_SIMILARITY = {"weight": 1.0}
# Images of the whole set, of which batches of 128 make about 46 steps an epoch.
STEPS = 60 * 46


def get_config() -> ConfigDict:
    return distilled("cub200", STEPS)


def distilled(source: str, steps: int) -> ConfigDict:
    """The recipe on a set of photographs of things, at 224 pixels."""
    student = common(source, "resnet18", 128)
    student.losses = ConfigDict(
        {"multi_similarity": MULTI_SIMILARITY, "darkrank_soft": default.whole_lists()}
    )
    student.baseline = ConfigDict({"multi_similarity": MULTI_SIMILARITY})
    student.teacher = common(source, "resnet50", 512)
    student.teacher.losses = ConfigDict({"multi_similarity": MULTI_SIMILARITY})
    default.share_images(student)
    for config in (student, student.teacher):
        config.steps = steps
        config.eval_every = max(1, steps // 20)
    return student.lock()


def common(source: str, model: str, embedding_dim: int) -> ConfigDict:
    """What teacher and student share."""
    config = default.get_config().unlock()
    config.model.update({"name": model, "embedding_dim": embedding_dim, "dtype": "bfloat16"})
    config.data.source = source
    # The middle 224 pixels after the shorter side was resized to 256.
    config.data.options = ConfigDict({"center_crop": 0.875})
    config.data.image_size = 224
    config.data.mean = (0.485, 0.456, 0.406)
    config.data.std = (0.229, 0.224, 0.225)
    config.data.batch_size = 128
    config.data.augmentation = ConfigDict(
        {"random_resized_crop": {"area": (0.16, 1.0)}, "horizontal_flip": {}}
    )
    config.data.num_workers = 8
    config.optimizer = ConfigDict({"name": "adamw", "weight_decay": 1e-4})
    config.learning_rate = 1e-4
    config.schedule = ConfigDict({"name": "cosine", "warmup_steps": 100})
    config.clip_norm = 10.0
    return config
