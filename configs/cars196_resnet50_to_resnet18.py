"""Cars-196: a ResNet-50 teaches a ResNet-18; classes 1 to 98 train, 99 to 196 test.

DIR holds the authors' car_ims.tgz and cars_annos.mat, and the weights are torchvision's. The recipe
is CUB's, with colours changed as well, since a model of car comes in any.

Command:   python -m darkrank_jax.main --config configs/cars196_resnet50_to_resnet18.py \
               --config.data.path=DIR \
               --config.weights.path=resnet18.safetensors \
               --config.teacher.weights.path=resnet50.safetensors
Hardware:  a GPU or TPU
Time:      not measured; `--mode plan` estimates it
Result:    not run at full size yet
"""

from ml_collections import ConfigDict

from configs import cub_resnet50_to_resnet18 as cub

# 8,054 images in batches of 128.
STEPS = 80 * 63


def get_config() -> ConfigDict:
    config = cub.distilled("cars196", STEPS).unlock()
    for run in (config, config.teacher):
        run.data.augmentation.color_jitter = ConfigDict(
            {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.1}
        )
    return config.lock()
