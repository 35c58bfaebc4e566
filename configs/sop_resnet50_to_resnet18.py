"""Stanford Online Products: a ResNet-50 teaches a ResNet-18; 11,318 products train, 11,316 test.

DIR holds the authors' Stanford_Online_Products.zip, and the weights are torchvision's. The recipe
is CUB's with larger batches of fewer images of a product, of which there are 5 on average.

Command:   python -m darkrank_jax.main --config configs/sop_resnet50_to_resnet18.py \
               --config.data.path=DIR \
               --config.weights.path=resnet18.safetensors \
               --config.teacher.weights.path=resnet50.safetensors
Hardware:  a GPU or TPU
Time:      not measured; `--mode plan` estimates it
Result:    not run at full size yet
"""

from ml_collections import ConfigDict

from configs import cub_resnet50_to_resnet18 as cub

# 59,551 images in batches of 256.
STEPS = 60 * 233


def get_config() -> ConfigDict:
    config = cub.distilled("sop", STEPS).unlock()
    for run in (config, config.teacher):
        run.data.batch_size = 256
        run.data.images_per_class = 2
        run.learning_rate = 2e-4
        run.data.options.validation_fraction = 0.05
    return config.lock()
