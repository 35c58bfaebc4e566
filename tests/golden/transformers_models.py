"""Makes transformers_models.npz: outputs of Hugging Face's vision transformers and ConvNeXts.

    pip install torch==2.13.0 transformers==5.24.0 numpy
    python tests/golden/transformers_models.py

Parameters follow `parameter` of models.py under the names of the files that transformers saves.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from models import parameter

# Height and width: one that the networks are made for, and another.
SIZES = ((32, 32), (48, 24))


def images(height: int, width: int) -> np.ndarray:
    """Two images NHWC, around 0."""
    rng = np.random.default_rng([height, width])
    return rng.normal(size=(2, height, width, 3)).astype(np.float32)


def main() -> None:
    """Writes the tensors' names and shapes and the outputs of every network at every size."""
    import torch

    torch.set_grad_enabled(False)
    arrays = {}
    for name, (maker, config, output) in networks().items():
        network, arrays[f"{name}/tensors"] = filled(maker, config)
        for height, width in SIZES:
            pixels = torch.from_numpy(images(height, width)).permute(0, 3, 1, 2)
            arrays[f"{name}/{height}x{width}"] = torch.cat(output(network, pixels), dim=1).numpy()
    np.savez_compressed(Path(__file__).parent / "transformers_models.npz", **arrays)


def filled(maker, config):
    """A network whose file holds parameters by the rule; its tensors' names and shapes."""
    from safetensors.numpy import load_file, save_file

    with tempfile.TemporaryDirectory() as folder:
        maker(config).save_pretrained(folder)
        path = Path(folder) / "model.safetensors"
        shapes = {key: tensor.shape for key, tensor in load_file(path).items()}
        save_file({k: parameter(k, s) for k, s in shapes.items()}, path, {"format": "pt"})
        network = maker.from_pretrained(folder).eval()
    listed = [f"{key} {'x'.join(map(str, shape))}" for key, shape in sorted(shapes.items())]
    return network, np.array(listed)


def networks() -> dict:
    """Every network, narrow, and what gives its embedding and the mean of its last patches."""
    import transformers as hf

    common = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    sized = {**common, "image_size": 32, "patch_size": 8}
    wide = {**sized, "intermediate_size": 512}

    def tokens(leading):
        def output(network, pixels, **options):
            states = network(pixels, **options).last_hidden_state
            return states[:, 0], states[:, leading:].mean(dim=1)

        return output

    def resized(output):
        return lambda network, pixels: output(network, pixels, interpolate_pos_encoding=True)

    def clip(network, pixels):
        found = network(pixels, interpolate_pos_encoding=True)
        states = network.vision_model.post_layernorm(found.last_hidden_state)
        return found.image_embeds, states[:, 1:].mean(dim=1)

    def siglip(network, pixels):
        found = network(pixels, interpolate_pos_encoding=True)
        return found.pooler_output, found.last_hidden_state.mean(dim=1)

    def naflex(network, pixels):
        import torch

        rows, columns = (side // 8 for side in pixels.shape[2:])
        patches = pixels.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 4, 5, 1)
        mask, shape = torch.ones(2, rows * columns), torch.tensor([[rows, columns]] * 2)
        found = network(patches.reshape(2, rows * columns, -1), mask, shape)
        return found.pooler_output, found.last_hidden_state.mean(dim=1)

    def convnext(network, pixels):
        # Its pooled output is normalised, as its classifier expects it.
        states = network(pixels).last_hidden_state
        return states.mean(dim=(2, 3)), states.amax(dim=(2, 3))

    stages = {"hidden_sizes": [16, 32, 64], "depths": [1, 2, 1], "num_stages": 3}

    def clip_config(activation):
        return hf.CLIPVisionConfig(**wide, projection_dim=96, hidden_act=activation)

    tower = hf.CLIPVisionModelWithProjection
    flexible = {**common, "intermediate_size": 512, "patch_size": 8, "num_patches": 16}
    return {
        "vit": (hf.ViTModel, hf.ViTConfig(**wide), resized(tokens(1))),
        "deit": (hf.DeiTModel, hf.DeiTConfig(**wide), resized(tokens(2))),
        "dinov2": (hf.Dinov2Model, hf.Dinov2Config(**sized), tokens(1)),
        "dinov2_registers": (
            hf.Dinov2WithRegistersModel,
            hf.Dinov2WithRegistersConfig(**sized, num_register_tokens=4),
            tokens(5),
        ),
        "clip": (tower, clip_config("quick_gelu"), clip),
        "clip_gelu": (tower, clip_config("gelu"), clip),
        "convnext": (hf.ConvNextModel, hf.ConvNextConfig(**stages), convnext),
        "convnextv2": (hf.ConvNextV2Model, hf.ConvNextV2Config(**stages), convnext),
        "siglip": (hf.SiglipVisionModel, hf.SiglipVisionConfig(**wide), siglip),
        "siglip2_naflex": (hf.Siglip2VisionModel, hf.Siglip2VisionConfig(**flexible), naflex),
    }


if __name__ == "__main__":
    main()
