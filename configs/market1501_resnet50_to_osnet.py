"""Market-1501: a ResNet-50 teaches an OSNet x0.25, a twentieth of its size.

DIR holds the authors' Market-1501-v15.09.15.zip, and the weights are torchreid's and torchvision's
of ImageNet. The recipe is the strong baseline of re-identification (Luo et al., CVPR workshops
2019), without its label smoothing: 256x128, padding and cropping, flips, erasing, batches of 16
persons by 4 images, a last stride of 1, and a batch norm in the head (BNNeck) that hard triplets
see the features before, and softmax those after.

Command:   python -m darkrank_jax.main --config configs/market1501_resnet50_to_osnet.py \
               --config.data.path=DIR \
               --config.weights.path=osnet_x0_25.safetensors \
               --config.teacher.weights.path=resnet50.safetensors
Hardware:  a GPU or TPU
Time:      not measured; `--mode plan` estimates it
Result:    not run at full size yet
"""

from ml_collections import ConfigDict

from configs import default

LABELLED = {
    "softmax": {"weight": 1.0, "embeddings": "after_norm"},
    "triplet": {
        "weight": 1.0,
        "margin": 0.3,
        "mining": "hard",
        "normalize_embeddings": False,
        "embeddings": "before_norm",
    },
}
# 12,936 images in batches of 64.
STEPS = 120 * 202


def get_config() -> ConfigDict:
    student = _common("osnet_x0_25", 512)
    student.losses = ConfigDict({**LABELLED, "darkrank_soft": default.whole_lists()})
    student.baseline = ConfigDict(LABELLED)
    student.teacher = _common("resnet50", 0)
    student.teacher.model.last_stride = 1
    student.teacher.losses = ConfigDict(LABELLED)
    default.share_images(student)
    return student.lock()


def _common(model: str, embedding_dim: int) -> ConfigDict:
    """What teacher and student share."""
    config = default.get_config().unlock()
    config.model.update({"name": model, "embedding_dim": embedding_dim})
    config.model.head_batch_norm = True
    config.data.source = "market1501"
    # The whole person, whatever the shape of the box.
    config.data.options = ConfigDict({"center_crop": 0.0})
    config.data.image_size = (256, 128)
    config.data.mean = (0.485, 0.456, 0.406)
    config.data.std = (0.229, 0.224, 0.225)
    config.data.batch_size = 64
    config.data.images_per_class = 4
    config.data.augmentation = ConfigDict(
        {
            "random_crop": {"padding": 10},
            "horizontal_flip": {},
            "random_erasing": {"area": (0.02, 0.4)},
        }
    )
    config.data.num_workers = 8
    config.steps = STEPS
    config.optimizer = ConfigDict({"name": "adamw", "weight_decay": 5e-4})
    config.learning_rate = 3.5e-4
    config.schedule = ConfigDict(
        {"name": "staircase", "warmup_steps": 2000, "boundaries": (1 / 3, 7 / 12)}
    )
    config.eval_every = 2020
    return config
