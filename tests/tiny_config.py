"""A run that trains in seconds, with everything a run can have."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    config = small()
    config.losses = ConfigDict(
        {
            "normalized_softmax": {"weight": 1.0, "temperature": 0.1},
            "darkrank_soft": {"weight": 0.1, "list_size": 6, "method": "sampled", "num_samples": 2},
            "kd": {
                "weight": {"name": "cosine", "value": 0.5, "warmup_steps": 2},
                "temperature": 2.0,
            },
        }
    )
    config.baseline = ConfigDict({"triplet": {"weight": 1.0, "margin": 0.3}})
    config.ema_decay = 0.5
    config.teacher = small()
    config.teacher.model.width = 6
    config.teacher.losses = ConfigDict({"normalized_softmax": {"weight": 1.0}})
    return config.lock()


def small() -> ConfigDict:
    config = default.get_config().unlock()
    config.model.update({"name": "resnet10", "width": 4, "stem": "strided", "embedding_dim": 8})
    config.data.options = ConfigDict({"num_classes": 20, "images_per_class": 4})
    config.data.update({"image_size": 16, "batch_size": 8, "images_per_class": 2})
    config.data.augmentation = ConfigDict({"random_affine": {"degrees": 5.0}})
    config.steps = 8
    config.schedule.warmup_steps = 2
    config.log_every = 2
    config.eval_every = 4
    return config
