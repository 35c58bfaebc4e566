"""Fine-tuning: a MobileNetV2 of ImageNet becomes an embedding of cars at 96 pixels.

DARKRANK_DATA holds cars196_half/cars196_half_96px.zip, DARKRANK_WEIGHTS mobilenet_v2.safetensors.
The head learns alone first; then the backbone follows at a tenth of its learning rate, until
validation stops getting better.

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
            "color_jitter": {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3},
        }
    )
    config.model.update({"name": "mobilenet_v2", "embedding_dim": 64})
    weights = os.environ.get("DARKRANK_WEIGHTS", "")
    config.weights.path = os.path.join(weights, "mobilenet_v2.safetensors")
    config.losses = ConfigDict({"normalized_softmax": {"weight": 1.0, "temperature": 0.1}})
    config.steps = 1500
    config.optimizer = ConfigDict({"name": "lion", "weight_decay": 1e-2})
    config.learning_rate = 3e-4
    config.learning_rates = ConfigDict({"backbone": 0.1})
    config.schedule = ConfigDict({"name": "cosine", "warmup_steps": 50, "cycles": 2})
    config.freeze_steps = 150
    config.ema_decay = 0.995
    config.eval_every = 150
    config.patience = 4
    return config.lock()
