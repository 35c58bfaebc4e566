"""Half of Cars-196, pretrained student: a fine-tuned EfficientNet-Lite2 teaches a MobileNetV2.

The student sees 65 pixels, the teacher 129: about a ninth of the multiplications. DARKRANK_DATA
holds cars196_half/cars196_half_96px.zip, DARKRANK_WEIGHTS efficientnet_lite2.safetensors and
mobilenet_v2.safetensors; experiments/photographs takes two more sets.

Command:   python -m darkrank_jax.main --config configs/pretrained_student.py
Hardware:  2 CPU cores
Time:      not measured
Result:    experiments/photographs, not run yet
"""

import os

from ml_collections import ConfigDict

from configs import default

SOFTMAX = {"weight": 1.0, "temperature": 0.1}


def get_config() -> ConfigDict:
    student = _common("mobilenet_v2")
    student.data.image_size = 65
    student.data.mean = (0.485, 0.456, 0.406)
    student.data.std = (0.229, 0.224, 0.225)
    student.steps = 600
    student.losses = ConfigDict(
        {
            "normalized_softmax": SOFTMAX,
            "embedding_match": {"weight": 10.0},
            "darkrank_soft": default.whole_lists(),
        }
    )
    student.baseline = ConfigDict({"normalized_softmax": SOFTMAX})
    # The teacher runs once on ten augmented views of each image, for all students and seeds.
    student.data.views = 10
    student.store_teacher = True
    student.teacher = _teacher()
    return student.lock()


def _teacher() -> ConfigDict:
    config = _common("efficientnet_lite2")
    # The file's padding is symmetric at sides of 32 k + 1 alone.
    config.data.image_size = 129
    config.data.mean = 127 / 255
    config.data.std = 128 / 255
    config.data.batch_size = 32
    config.steps = 600
    config.eval_every = 200
    config.losses = ConfigDict({"normalized_softmax": SOFTMAX})
    return config


def _common(network: str) -> ConfigDict:
    """What teacher and student share: fine-tuning of ImageNet's weights."""
    config = default.get_config().unlock()
    config.data.source = "images"
    data = os.environ.get("DARKRANK_DATA", "")
    config.data.path = os.path.join(data, "cars196_half", "cars196_half_96px.zip")
    config.data.options = ConfigDict({"num_train_classes": 98})
    config.data.batch_size = 64
    config.data.augmentation = ConfigDict(
        {"random_resized_crop": {"area": (0.4, 1.0)}, "horizontal_flip": {}}
    )
    config.model.update({"name": network, "embedding_dim": 128})
    weights = os.environ.get("DARKRANK_WEIGHTS", "")
    config.weights.path = os.path.join(weights, f"{network}.safetensors")
    config.learning_rate = 3e-4
    return config
