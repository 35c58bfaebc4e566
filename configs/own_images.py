"""Your own images: a ResNet-50 of yours teaches a ResNet-18.

DIR is a folder of class folders, a .zip or .tar of it, or a .csv, .tsv or .parquet with the columns
path and label (and split, camera); `--mode prepare` prints its contents. The weights are a
safetensors file of torchvision's ResNet-50 whose pooled features are the embeddings; for another
network or its embedding layer see docs/pretrained.md. With 0 steps the teacher is taken as it is;
without that flag it is first trained on your images, from the weights if a file is given.

Command:   python -m darkrank_jax.main --config configs/own_images.py --config.data.path=DIR \
               --config.teacher.weights.path=resnet50.safetensors --config.teacher.steps=0
Hardware:  a GPU or TPU
Time:      depends on your images; `--mode plan` estimates it
Result:    yours
"""

from ml_collections import ConfigDict

from configs import default

SUPCON = {"weight": 1.0, "temperature": 0.1}


def get_config() -> ConfigDict:
    student = _common()
    student.model.update({"name": "resnet18", "embedding_dim": 128})
    student.losses = ConfigDict({"supcon": SUPCON, "darkrank_soft": default.whole_lists()})
    student.baseline = ConfigDict({"supcon": SUPCON})
    student.teacher = _common()
    default.share_images(student)
    student.teacher.model.update({"name": "resnet50", "embedding_dim": 0})
    student.teacher.losses = ConfigDict({"supcon": SUPCON})
    return student.lock()


def _common() -> ConfigDict:
    """What teacher and student share."""
    config = default.get_config().unlock()
    config.data.source = "images"
    config.data.options = ConfigDict({"center_crop": 0.875, "num_train_classes": 0})
    config.data.image_size = 224
    config.data.mean = (0.485, 0.456, 0.406)
    config.data.std = (0.229, 0.224, 0.225)
    config.data.batch_size = 64
    config.data.augmentation = ConfigDict(
        {"random_resized_crop": {"area": (0.2, 1.0)}, "horizontal_flip": {}}
    )
    config.steps = 3000
    config.learning_rate = 1e-3
    config.schedule = ConfigDict({"name": "cosine", "warmup_steps": 200})
    config.clip_norm = 10.0
    config.eval_every = 250
    return config
