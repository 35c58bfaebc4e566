"""MobileNetV2: its sizes, and what others compute with its weights."""

from darkrank_jax.models.backbones import mobilenet_v2
from tests.models.backbones.architectures import check_outputs, check_published, every_network

# Torchvision's and timm's count of parameters, what its classifier of 1000 classes has of them, and
# side and channels of each map of an image of 224 pixels.
PUBLISHED = {
    "mobilenet_v2": (
        3_504_872,
        1000 * (1280 + 1),
        [(112, 16), (56, 24), (28, 32), (14, 96), (7, 1280)],
    ),
}


@every_network(mobilenet_v2)
def test_parameters_and_shapes_are_those_published(name):
    check_published(name, *PUBLISHED[name])


def test_outputs_agree_with_another_implementation(tmp_path):
    check_outputs("mobilenet_v2", tmp_path)
