"""In-Shop Clothes: a ResNet-50 teaches a ResNet-18; 3,997 items train, 3,985 are searched for.

DIR holds the authors' img.zip and list_eval_partition.txt, and the weights are torchvision's. The
recipe is SOP's.

Command:   python -m darkrank_jax.main --config configs/inshop_resnet50_to_resnet18.py \
               --config.data.path=DIR \
               --config.weights.path=resnet18.safetensors \
               --config.teacher.weights.path=resnet50.safetensors
Hardware:  a GPU or TPU
Time:      not measured; `--mode plan` estimates it
Result:    not run at full size yet
"""

from ml_collections import ConfigDict

from configs import cub_resnet50_to_resnet18 as cub

# 25,882 images in batches of 256.
STEPS = 60 * 102


def get_config() -> ConfigDict:
    config = cub.distilled("inshop", STEPS).unlock()
    for run in (config, config.teacher):
        run.data.batch_size = 256
        run.data.images_per_class = 2
        run.learning_rate = 2e-4
        run.data.options.validation_fraction = 0.05
    return config.lock()
