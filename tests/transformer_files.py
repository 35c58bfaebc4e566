"""Files of vision transformers under every project's names, by the rule of tests/golden."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from darkrank_jax.models import MODELS
from darkrank_jax.models.backbones.convnext import ConvNeXt
from darkrank_jax.models.pretrained import load_weights

GOLDEN = Path(__file__).parent / "golden"
SMALL = {"width": 128, "depth": 2, "patch": 8}
# Network of tests/golden/transformers_models.npz -> name in MODELS and options.
NETWORKS = {
    "vit": ("vit_s16", {}),
    "deit": ("deit_s16", {}),
    "dinov2": ("dinov2_s14", {}),
    "dinov2_registers": ("dinov2_s14", {"registers": 4}),
    "clip": ("clip_vit_b32", {"projection": 96}),
    "clip_gelu": ("clip_vit_b32", {"projection": 96, "activation": "gelu"}),
    "siglip": ("siglip_b16", {}),
    "siglip2_naflex": ("siglip_b16", {}),
}
SIZES = ((32, 32), (48, 24))


@pytest.fixture(scope="module")
def rule():
    """tests/golden/transformers_models.py, which is in no package."""
    path = GOLDEN / "transformers_models.py"
    spec = importlib.util.spec_from_file_location("golden_transformers", path)
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "transformers_models.npz") as arrays:
        yield arrays


@pytest.fixture(scope="module")
def files(rule, golden):
    """The tensors of a network's file."""

    def tensors(name):
        lines = [line.split(" ") for line in golden[f"{name}/tensors"]]
        shapes = {key: tuple(map(int, shape.split("x"))) for key, shape in lines}
        return {key: rule.parameter(key, shape) for key, shape in shapes.items()}

    return tensors


CONVNEXTS = {"convnext": False, "convnextv2": True}


def small(name):
    if name in CONVNEXTS:
        return ConvNeXt((1, 2, 1), width=16, response_norm=CONVNEXTS[name])
    model, options = NETWORKS[name]
    return MODELS[model](**SMALL, **options)


def loaded(tensors, folder, backbone, size=(32, 32), **options):
    path = folder / "weights.safetensors"
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path)
    return load_weights(path, backbone, image_shape=(*size, 3), **options)


def fused(tensors, pattern, name):
    """Queries, keys and values as one tensor under another name."""
    out = {}
    for key, tensor in tensors.items():
        match = re.search(pattern, key)
        if not match:
            out[key] = tensor
            continue
        parts = [key[: match.start(1)] + each + key[match.end(1) :] for each in "qkv"]
        if pattern.startswith(r"\.attention\.attention"):
            words = ("query", "key", "value")
            parts = [key[: match.start(1)] + each + key[match.end(1) :] for each in words]
        joined = key[: match.start()] + name.replace("LEAF", match[2])
        out[joined] = np.concatenate([tensors[part] for part in parts])
    return out


IN_FILES = r"\.attention\.attention\.(query|key|value)\.(weight|bias)$"
IN_TOWERS = r"\.self_attn\.([qkv])_proj\.(weight|bias)$"


def renamed(tensors, *changes):
    for pattern, replacement in changes:
        tensors = {re.sub(pattern, replacement, key): tensor for key, tensor in tensors.items()}
    return tensors


def timm_of_model(tensors):
    """timm's names of Hugging Face's ViT, DeiT and DINOv2."""
    return renamed(
        {k: v for k, v in fused(tensors, IN_FILES, ".attn.qkv.LEAF").items() if "pooler" not in k},
        (r"^embeddings\.cls_token", "cls_token"),
        (r"^embeddings\.mask_token", "mask_token"),
        (r"^embeddings\.distillation_token", "dist_token"),
        (r"^embeddings\.register_tokens", "reg_token"),
        (r"^embeddings\.position_embeddings", "pos_embed"),
        (r"^embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
        (r"^encoder\.layer\.", "blocks."),
        (r"\.attention\.output\.dense", ".attn.proj"),
        (r"layernorm_before", "norm1"),
        (r"layernorm_after", "norm2"),
        (r"\.intermediate\.dense", ".mlp.fc1"),
        (r"\.output\.dense", ".mlp.fc2"),
        (r"layer_scale(\d)\.lambda1", r"ls\1.gamma"),
        (r"^layernorm\.", "norm."),
    )


def openai_of_clip(tensors):
    """OpenAI's names, which open_clip has as well, with a text network beside."""
    found = renamed(
        fused(tensors, IN_TOWERS, ".attn.in_proj_LEAF"),
        (r"^vision_model\.embeddings\.class_embedding", "visual.class_embedding"),
        (r"^vision_model\.embeddings\.patch_embedding", "visual.conv1"),
        (r"^vision_model\.embeddings\.position_embedding\.weight", "visual.positional_embedding"),
        (r"^vision_model\.pre_layrnorm", "visual.ln_pre"),
        (r"^vision_model\.post_layernorm", "visual.ln_post"),
        (r"^vision_model\.encoder\.layers", "visual.transformer.resblocks"),
        (r"\.self_attn\.out_proj", ".attn.out_proj"),
        (r"\.layer_norm(\d)", r".ln_\1"),
        (r"\.mlp\.fc1", ".mlp.c_fc"),
        (r"\.mlp\.fc2", ".mlp.c_proj"),
    )
    found["visual.proj"] = found.pop("visual_projection.weight").T
    text = {
        key.removeprefix("visual."): tensor[:64] if tensor.ndim == 1 else tensor[:64, :64]
        for key, tensor in found.items()
        if key.startswith("visual.transformer.")
    }
    beside = {"positional_embedding": np.ones((7, 64)), "token_embedding.weight": np.ones((9, 64))}
    beside |= {"text_projection": np.ones((64, 96)), "ln_final.weight": np.ones(64)}
    return found | text | beside | {"ln_final.bias": np.ones(64), "logit_scale": np.ones(())}


def timm_of_tower(tensors):
    """timm's names of what CLIP and SigLIP have in common."""
    tensors = fused(tensors, IN_TOWERS, ".attn.qkv.LEAF")
    tensors["pos_embed"] = tensors.pop("embeddings.position_embedding.weight")[None]
    return renamed(
        tensors,
        (r"^embeddings\.patch_embedding", "patch_embed.proj"),
        (r"^encoder\.layers", "blocks"),
        (r"\.self_attn\.out_proj", ".attn.proj"),
        (r"\.layer_norm", ".norm"),
        (r"^post_layernorm", "norm"),
    )


def timm_of_siglip(tensors):
    tensors = timm_of_tower(tensors)
    for leaf in ("weight", "bias"):
        joined = tensors.pop(f"head.attention.in_proj_{leaf}")
        tensors[f"attn_pool.q.{leaf}"], tensors[f"attn_pool.kv.{leaf}"] = np.split(joined, [128])
    return renamed(
        tensors,
        (r"^head\.probe", "attn_pool.latent"),
        (r"^head\.attention\.out_proj", "attn_pool.proj"),
        (r"^head\.layernorm", "attn_pool.norm"),
        (r"^head\.mlp", "attn_pool.mlp"),
    )


def timm_of_clip(tensors):
    """timm keeps CLIP's projection as its classifier, with a bias of 0."""
    tensors = {k.removeprefix("vision_model."): v for k, v in tensors.items()}
    tensors["head.weight"] = tensors.pop("visual_projection.weight")
    first = tensors.pop("embeddings.class_embedding")[None, None]
    beside = {"cls_token": first, "head.bias": np.zeros(96)}
    return renamed(timm_of_tower(tensors), (r"^pre_layrnorm", "norm_pre")) | beside


def with_text(tensors):
    """As CLIPModel and SiglipModel have it, with what transformers 4 wrote beside."""
    tower = {
        key if key.startswith(("visual_", "vision_")) else f"vision_model.{key}": tensor
        for key, tensor in tensors.items()
    }
    text = {
        key.replace("vision_model.", "text_model."): np.ones(3)
        for key in tower
        if ".encoder." in key
    }
    ids = {
        f"{m}.embeddings.position_ids": np.arange(3)[None] for m in ("vision_model", "text_model")
    }
    beside = {"text_projection.weight": np.ones((4, 3)), "logit_scale": np.ones(())}
    return tower | text | ids | beside | {"logit_bias": np.ones(1)}


def torchvision_of_vit(tensors):
    return renamed(
        fused(tensors, IN_FILES, ".self_attention.in_proj_LEAF")
        | {"heads.head.weight": np.ones((5, 128)), "heads.head.bias": np.ones(5)},
        (r"^pooler\.", "heads."),
        (r"^embeddings\.cls_token", "class_token"),
        (r"^embeddings\.position_embeddings", "encoder.pos_embedding"),
        (r"^embeddings\.patch_embeddings\.projection", "conv_proj"),
        (r"^encoder\.layer\.", "encoder.layers.encoder_layer_"),
        (r"\.attention\.output\.dense", ".self_attention.out_proj"),
        (r"layernorm_before", "ln_1"),
        (r"layernorm_after", "ln_2"),
        (r"\.intermediate\.dense", ".mlp.0"),
        (r"\.output\.dense", ".mlp.3"),
        (r"^layernorm\.", "encoder.ln."),
    )


def modules_of_transformers_5(tensors):
    """The names of modules since transformers 5, which its files do not have."""
    found = renamed(
        tensors,
        (r"\.attention\.attention\.(q|k|v)(uery|ey|alue)\.", r".attention.\1_proj."),
        (r"\.attention\.output\.dense", ".attention.o_proj"),
        (r"\.intermediate\.dense", ".mlp.fc1"),
        (r"\.output\.dense", ".mlp.fc2"),
    )
    dinov2 = any("layer_scale" in key for key in found)
    return found if dinov2 else renamed(found, (r"^encoder\.layer\.", "layers."))


def meta_of_dinov2(tensors):
    return renamed(timm_of_model(tensors), ("^reg_token", "register_tokens"))


def wrapped(tensors):
    """As ViTForImageClassification has it."""
    head = {"classifier.weight": np.ones((5, 128)), "classifier.bias": np.ones(5)}
    return {f"vit.{key}": tensor for key, tensor in tensors.items()} | head


def trunk(tensors):
    """As open_clip has a network of timm's."""
    beside = {"text.transformer.resblocks.0.ln_1.weight": np.ones(3), "logit_scale": np.ones(())}
    return {f"visual.trunk.{key}": tensor for key, tensor in tensors.items()} | beside


def timm_of_convnext(tensors):
    """timm's names, with its classifier and the norm before it."""
    found = renamed(
        {k: v.reshape(-1) if ".grn." in k else v for k, v in tensors.items()},
        (r"^embeddings\.patch_embeddings", "stem.0"),
        (r"^embeddings\.layernorm", "stem.1"),
        (r"^layernorm", "head.norm"),
        (r"^encoder\.", ""),
        (r"downsampling_layer", "downsample"),
        (r"\.layers\.", ".blocks."),
        (r"\.dwconv", ".conv_dw"),
        (r"\.layernorm", ".norm"),
        (r"\.pwconv", ".mlp.fc"),
        (r"\.grn", ".mlp.grn"),
        (r"layer_scale_parameter", "gamma"),
    )
    return found | {"head.fc.weight": np.ones((5, 64)), "head.fc.bias": np.ones(5)}


def torchvision_of_convnext(tensors):
    found = {
        k: v[:, None, None] if "layer_scale" in k else v
        for k, v in tensors.items()
        if not k.startswith("layernorm.")
    }
    moved = {}
    for key, tensor in found.items():
        key = key.replace("embeddings.patch_embeddings", "features.0.0")
        key = key.replace("embeddings.layernorm", "features.0.1")
        if match := re.match(r"encoder\.stages\.(\d)\.(downsampling_layer|layers)\.(.*)", key):
            place = 2 * int(match[1]) + (match[2] == "layers")
            key = f"features.{place}.{match[3]}"
        for here, there in (("dwconv", 0), ("layernorm", 2), ("pwconv1", 3), ("pwconv2", 5)):
            key = key.replace(f".{here}.", f".block.{there}.")
        moved[key.replace("layer_scale_parameter", "layer_scale")] = tensor
    return moved


# Networks and other projects' names for them.
CONVNEXT_RENAMINGS = [
    ("convnext", timm_of_convnext),
    ("convnext", torchvision_of_convnext),
    ("convnextv2", timm_of_convnext),
]
RENAMINGS = [
    ("vit", timm_of_model),
    ("vit", torchvision_of_vit),
    ("vit", modules_of_transformers_5),
    ("vit", wrapped),
    ("deit", timm_of_model),
    ("deit", modules_of_transformers_5),
    ("dinov2", timm_of_model),
    ("dinov2", modules_of_transformers_5),
    ("dinov2_registers", timm_of_model),
    ("dinov2_registers", meta_of_dinov2),
    ("dinov2_registers", modules_of_transformers_5),
    ("clip", openai_of_clip),
    ("clip", timm_of_clip),
    ("clip", with_text),
    ("siglip", timm_of_siglip),
    ("siglip", lambda tensors: trunk(timm_of_siglip(tensors))),
    ("siglip", with_text),
]
