"""Half of Cars-196, fine-tuning: a MobileNetV2 of ImageNet embeds cars at 96 pixels.

DARKRANK_DATA holds cars196_half/cars196_half_96px.zip, DARKRANK_WEIGHTS mobilenet_v2.safetensors.
The head learns alone first; then the backbone follows, at a fifth of its learning rate and less
towards the images, until validation stops getting better.

Command:   python -m darkrank_jax.main --config configs/fine_tuning.py
Hardware:  2 CPU cores
Time:      not measured
Result:    experiments/fine_tuning, not run yet
"""

import os

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    config = default.get_config().unlock()
    config.data.source = "images"
    archive = "cars196_half/cars196_half_96px.zip"
    config.data.path = os.path.join(os.environ.get("DARKRANK_DATA", ""), archive)
    config.data.options = ConfigDict({"num_train_classes": 98})
    config.data.image_size = 96
    config.data.mean = (0.485, 0.456, 0.406)
    config.data.std = (0.229, 0.224, 0.225)
    config.data.batch_size = 64
    config.data.augmentation = ConfigDict(
        {
            "random_resized_crop": {"area": (0.4, 1.0)},
            "horizontal_flip": {},
            "trivial_augment": {"strength": 0.4},
            "gaussian_blur": {"probability": 0.2},
        }
    )
    config.model.update({"name": "mobilenet_v2", "embedding_dim": 64})
    weights = os.environ.get("DARKRANK_WEIGHTS", "")
    config.weights.path = os.path.join(weights, "mobilenet_v2.safetensors")
    config.losses = ConfigDict({"normalized_softmax": {"weight": 1.0, "temperature": 0.1}})
    # About 1,500 batches of 3,400 images.
    config.steps, config.epochs = 0, 28.0
    config.optimizer = ConfigDict({"name": "lion", "weight_decay": 1e-2})
    config.learning_rate = 3e-4
    config.learning_rates = ConfigDict({"backbone": 0.2})
    config.layer_decay = 0.95
    config.schedule = ConfigDict({"name": "cosine", "cycles": 2})
    config.warmup_epochs = 1.0
    config.freeze_steps = 150
    config.ema_decay = 0.995
    config.eval_every = 150
    config.patience = 4
    return config.lock()
