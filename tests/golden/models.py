"""Makes models.npz: outputs of other implementations whose parameters follow a rule.

    pip install torch==2.14.1 torchvision==0.29.1 timm==1.0.31
    python tests/golden/models.py DIR [--full]

DIR holds bninception.py of pretrainedmodels 0.7.4 and osnet.py of torchreid, neither of which
imports on its own any more. --full leaves the networks as wide as they are published, for a
comparison by hand, and writes to DIR. `parameter` is the rule; the test imports it. Each network
has outputs at two sizes, the second of which is not square.
"""

import sys
import zlib
from pathlib import Path

import numpy as np

# Of the ResNets' stages.
BLOCKS = [2, 1, 1, 1]
# Of images, where it is not 64: odd maps have averages at their ends.
SIDES = {"resnet50d": 72}


def sizes(name: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width of a network's images: a square, and another."""
    side = SIDES.get(name, 64)
    return (side, side), (side + 32, side)


def parameter(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The values of a tensor under PyTorch's names and layout, float32.

    Drawn by NumPy's default generator from the CRC-32 of the name: weights of more than one axis
    normal with variance 2 / fan-in, running variances uniform in (0.5, 1.5), scales of norms
    (weights of one axis) normal around 1, everything else around 0, with deviation 0.1.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("running_var"):
        values = rng.uniform(0.5, 1.5, shape)
    elif name.endswith("weight") and len(shape) > 1:
        values = rng.normal(0.0, np.sqrt(2 / np.prod(shape[1:])), shape)
    else:
        values = rng.normal(float(name.endswith("weight")), 0.1, shape)
    return values.astype(np.float32)


def images(height: int, width: int) -> np.ndarray:
    """Two images NHWC, around 0."""
    rng = np.random.default_rng(height)
    return rng.normal(size=(2, height, width, 3)).astype(np.float32)


def main(directory: Path, full: bool) -> None:
    """Writes the names, shapes and pooled outputs of every network."""
    import torch

    torch.set_grad_enabled(False)
    arrays = {}
    for name, (network, output) in networks(directory, full).items():
        state = {
            key: torch.from_numpy(parameter(key, tuple(tensor.shape)))
            for key, tensor in network.state_dict().items()
            if not key.endswith("num_batches_tracked")
        }
        network.load_state_dict(state, strict=False)
        network.eval()
        for height, width in [(224, 224)] if full and name == "vit_s16" else sizes(name):
            pixels = torch.from_numpy(images(height, width)).permute(0, 3, 1, 2)
            arrays[f"{name}/{height}x{width}"] = output(network, pixels).numpy()
        arrays[f"{name}/tensors"] = np.array(
            [f"{key} {'x'.join(map(str, tensor.shape))}" for key, tensor in state.items()]
        )
    where = directory if full else Path(__file__).parent
    np.savez_compressed(where / "models.npz", **arrays)


def networks(directory: Path, full: bool) -> dict:
    """Every network, narrow, and what gives its last map, pooled."""
    import timm
    import torch
    from torch import nn
    from torchvision import models
    from torchvision.models import convnext, efficientnet, mobilenetv3

    sys.path.insert(0, str(directory))
    import bninception
    import osnet

    width = 1.0 if full else 0.25

    def mobilenet_v3(size):
        rows, last = mobilenetv3._mobilenet_v3_conf(f"mobilenet_v3_{size}", width_mult=width)
        return mobilenetv3.MobileNetV3(rows, last)

    def efficientnet_b0():
        rows, last = efficientnet._efficientnet_conf(
            "efficientnet_b0", width_mult=width, depth_mult=1.0
        )
        return efficientnet.EfficientNet(rows, 0.2, last_channel=last)

    def convnext_tiny():
        side = 96 if full else 24
        rows = [
            convnext.CNBlockConfig(side * 2**i, side * 2 ** (i + 1) if i < 3 else None, count)
            for i, count in enumerate((3, 3, 9, 3))
        ]
        return convnext.ConvNeXt(rows)

    def nin_bn():
        """From the symbol file of DarkRank's authors; MXNet's pooling_convention "full" is ceil."""
        stages = [(3, 96, 11, 4, 0), (96, 256, 5, 1, 2), (256, 384, 3, 1, 1), (384, 1024, 3, 1, 1)]
        names = [
            ("conv1", "cccp1", "cccp2"),
            ("conv2", "cccp3", "cccp4"),
            ("conv3", "cccp5", "cccp6"),
            ("conv4_1024", "cccp7_1024", "cccp8_1024_new"),
        ]
        net, number = nn.Sequential(), 0
        for (inside, outside, kernel, stride, padding), units in zip(stages, names, strict=True):
            inside, outside = (c if c == 3 else int(c * width) for c in (inside, outside))
            if number:
                net.add_module(f"pool{number}", nn.MaxPool2d(3, 2, ceil_mode=True))
            for unit in units:
                number += 1
                net.add_module(unit, nn.Conv2d(inside, outside, kernel, stride, padding))
                net.add_module(f"bn_{number}", nn.BatchNorm2d(outside, eps=1e-3))
                net.add_module(f"relu{number}", nn.ReLU())
                inside, kernel, stride, padding = outside, 1, 1, 0
        return net

    def pooled(method):
        return lambda net, x: (getattr(net, method) if method else net)(x).mean(dim=(2, 3))

    def resnet(block, **options):
        """torchvision's, of few blocks, since it has no narrower ones."""
        return models.resnet.ResNet(block, BLOCKS, **options)

    class HalfInstanceNorm(nn.Module):
        """IBN of Pan et al., with the names of their code and of fast-reid's."""

        def __init__(self, channels):
            super().__init__()
            self.half = channels // 2
            self.IN = nn.InstanceNorm2d(self.half, affine=True)
            self.BN = nn.BatchNorm2d(channels - self.half)

        def forward(self, x):
            own, rest = x[:, : self.half].contiguous(), x[:, self.half :].contiguous()
            return torch.cat([self.IN(own), self.BN(rest)], dim=1)

    def resnet_ibn_a(block):
        """torchvision's with IBN in all stages but the last, and a last stride of 1."""
        network = resnet(block)
        for stage in (network.layer1, network.layer2, network.layer3):
            for each in stage:
                each.bn1 = HalfInstanceNorm(each.bn1.num_features)
        first = network.layer4[0]
        strided = first.conv2 if hasattr(first, "conv3") else first.conv1
        strided.stride = first.downsample[0].stride = (1, 1)
        return network

    def stages(net, x):
        """The last map of torchvision's and timm's ResNets, pooled."""
        first = getattr(net, "act1", None) or net.relu
        x = net.maxpool(first(net.bn1(net.conv1(x))))
        x = net.layer4(net.layer3(net.layer2(net.layer1(x))))
        return x.mean(dim=(2, 3))

    def of_timm(name):
        """A network that timm builds from a table, narrow."""
        from timm.models import efficientnet

        maker = {
            "mobilenet_v2": efficientnet._gen_mobilenet_v2,
            "efficientnet_b0": efficientnet._gen_efficientnet,
            "efficientnet_lite0": efficientnet._gen_efficientnet_lite,
        }[name]
        return maker("mobilenetv2_100" if name == "mobilenet_v2" else name, width)

    vit = {} if full else {"embed_dim": 128, "num_heads": 2, "depth": 3, "img_size": 64}
    vit["dynamic_img_size"] = True
    return {
        "convnext_tiny": (convnext_tiny(), pooled("features")),
        "efficientnet_b0": (efficientnet_b0(), pooled("features")),
        "inception_bn": (bninception.BNInception(), pooled("features")),
        "timm_efficientnet_b0": (of_timm("efficientnet_b0"), pooled("forward_features")),
        "timm_efficientnet_lite0": (of_timm("efficientnet_lite0"), pooled("forward_features")),
        "timm_mobilenet_v2": (of_timm("mobilenet_v2"), pooled("forward_features")),
        # Its narrow ones expand otherwise, so these are whole.
        **{
            f"timm_mobilenet_v3_{size}": (
                timm.create_model(f"mobilenetv3_{size}_100"),
                pooled("forward_features"),
            )
            for size in ("large", "small")
        },
        "mobilenet_v2": (models.mobilenet_v2(width_mult=width), pooled("features")),
        "mobilenet_v3_large": (mobilenet_v3("large"), pooled("features")),
        "mobilenet_v3_small": (mobilenet_v3("small"), pooled("features")),
        "nin_bn": (nin_bn(), pooled("")),
        "resnet18_ibn_a": (resnet_ibn_a(models.resnet.BasicBlock), stages),
        "resnet50_ibn_a": (resnet_ibn_a(models.resnet.Bottleneck), stages),
        "resnet50d": (timm.create_model("resnet50d", layers=BLOCKS), stages),
        "resnext50_32x4d": (
            resnet(models.resnet.Bottleneck, groups=32, width_per_group=4),
            stages,
        ),
        "osnet_x0_25": (osnet.osnet_x0_25(pretrained=False), pooled("featuremaps")),
        "vit_s16": (
            timm.create_model("vit_small_patch16_224", **vit),
            lambda net, x: torch.cat(
                [net.forward_features(x)[:, 0], net.forward_features(x)[:, 1:].mean(dim=1)], dim=1
            ),
        ),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--full" in sys.argv)
