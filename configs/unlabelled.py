"""Images without one label: a ResNet-50 of yours teaches a ResNet-18 what is alike.

DIR is a folder, a .zip or a .tar of images; folders count for nothing. The teacher is a safetensors
file of torchvision's ResNet-50, taken as it is, whose pooled features are the embeddings; for
another network or its embedding layer see docs/pretrained.md. Where some images have labels, name
them in `evaluation.datasets`, and the run ends with what teacher and student are worth there.

Command:   python -m darkrank_jax.main --config configs/unlabelled.py --config.data.path=DIR \
               --config.teacher.weights.path=resnet50.safetensors
Hardware:  a GPU or TPU
Time:      depends on your images; `--mode plan` estimates it
Result:    yours
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    student = _common()
    student.model.update({"name": "resnet18", "embedding_dim": 128})
    student.losses = ConfigDict(
        {"rkd_distance": {"weight": 1.0}, "darkrank_soft": default.whole_lists()}
    )
    # As much as can be: what a teacher says of mixtures needs no label (Beyer et al., CVPR 2022).
    student.mixup = 1.0
    student.teacher = _common()
    default.share_images(student)
    student.teacher.model.update({"name": "resnet50", "embedding_dim": 0})
    student.teacher.steps = 0
    student.teacher.weights.path = "resnet50.safetensors"
    return student.lock()


def _common() -> ConfigDict:
    """What teacher and student share."""
    config = default.get_config().unlock()
    config.data.source = "unlabelled"
    config.data.options = ConfigDict({"center_crop": 0.875})
    config.data.sampler.name = "random"
    config.data.image_size = 224
    config.data.mean = (0.485, 0.456, 0.406)
    config.data.std = (0.229, 0.224, 0.225)
    config.data.batch_size = 64
    config.data.augmentation = ConfigDict(
        {"random_resized_crop": {"area": (0.2, 1.0)}, "horizontal_flip": {}}
    )
    config.steps = 3000
    config.schedule = ConfigDict({"name": "cosine", "warmup_steps": 200})
    config.clip_norm = 10.0
    config.eval_every = 250
    return config
