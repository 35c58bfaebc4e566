"""The names of a vision transformer's variables in files of other projects."""

from darkrank_jax.models.weights.naming import (
    Naming,
    TensorSource,
    by_name,
    by_table,
    dotted,
    flat_patches,
    rows,
    stacked,
    table,
    transposed,
    vector,
)
from darkrank_jax.models.weights.positions import Method

Table = dict[str, str | TensorSource]

_META: Table = {"reg_token": "register_tokens"}
_TORCHVISION: Table = {
    "cls_token": "class_token",
    "pos_embed": "encoder.pos_embedding",
    "patch_embed.proj": "conv_proj",
    "norm1": "ln_1",
    "attn.qkv": "self_attention.in_proj_{}",
    "attn.proj": "self_attention.out_proj",
    "norm2": "ln_2",
    "mlp.fc1": "mlp.0",
    "mlp.fc2": "mlp.3",
    "norm": "encoder.ln",
}
_OPENAI: Table = {
    "cls_token": vector("class_embedding"),
    "pos_embed": table("positional_embedding"),
    "patch_embed.proj": "conv1",
    "norm_pre": "ln_pre",
    "norm1": "ln_1",
    "attn.qkv": "attn.in_proj_{}",
    "attn.proj": "attn.out_proj",
    "norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "norm": "ln_post",
    "head.weight": transposed("proj"),
}
# Hugging Face's files keep the names of transformers 4; its modules have others since 5.
_ATTENTION_IN_FILES: Table = {
    "attn.qkv": stacked(*(f"attention.attention.{name}" for name in ("query", "key", "value"))),
    "attn.proj": "attention.output.dense",
}
_ATTENTION_IN_MODULES: Table = {
    "attn.qkv": stacked(*(f"attention.{name}_proj" for name in "qkv")),
    "attn.proj": "attention.o_proj",
}
_EMBEDDINGS: Table = {
    "cls_token": "embeddings.cls_token",
    "dist_token": "embeddings.distillation_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
}
_VIT: Table = {**_EMBEDDINGS, "norm1": "layernorm_before", "norm2": "layernorm_after"}
_VIT_MLP_IN_FILES: Table = {"mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense"}
_DINOV2: Table = {
    **_EMBEDDINGS,
    "ls1.gamma": "layer_scale1.lambda1",
    "ls2.gamma": "layer_scale2.lambda1",
}
_REGISTERS: Table = {"reg_token": "embeddings.register_tokens"}
# CLIP and SigLIP.
_TOWER: Table = {
    "cls_token": vector("embeddings.class_embedding"),
    "pos_embed": table("embeddings.position_embedding.weight"),
    "patch_embed.proj": "embeddings.patch_embedding",
    "norm_pre": "pre_layrnorm",
    "norm1": "layer_norm1",
    "attn.qkv": stacked(*(f"self_attn.{name}_proj" for name in "qkv")),
    "attn.proj": "self_attn.out_proj",
    "norm2": "layer_norm2",
    "norm": "post_layernorm",
    "attn_pool.latent": "head.probe",
    "attn_pool.q": rows("head.attention.in_proj_{}", 0, 1, 3),
    "attn_pool.kv": rows("head.attention.in_proj_{}", 1, 3, 3),
    "attn_pool.proj": "head.attention.out_proj",
    "attn_pool.norm": "head.layernorm",
    "attn_pool.mlp.fc1": "head.mlp.fc1",
    "attn_pool.mlp.fc2": "head.mlp.fc2",
    "head": "visual_projection",
}
# SigLIP 2 of any aspect ratio.
_NAFLEX: Table = {**_TOWER, "patch_embed.proj": flat_patches("embeddings.patch_embedding")}

# Beginnings of names that are no part of the backbone: heads, what masks images in training, and
# the network of texts.
_TEXT = ("logit_scale", "logit_bias", "text.")
_TIMM_BESIDE = ("head_dist.", "mask_token", "attn_pool.", "visual.head.", *_TEXT)
_OPENAI_BESIDE = ("proj",)
_CLIP_BESIDE = ("visual.proj", "transformer.", "token_embedding.", "positional_embedding")
_CLIP_BESIDE += ("ln_final.", "text_projection", *_TEXT)
_CLIP_BESIDE += ("input_resolution", "context_length", "vocab_size")
_MODEL_BESIDE = ("pooler.", "cls_classifier.", "distillation_classifier.", "embeddings.mask_token")
_TOWER_BESIDE = ("embeddings.position_ids", "visual_projection.", "head.")
_TWO_TOWERS_BESIDE = ("text_model.", "text_projection.", *_TEXT)
_TWO_TOWERS_BESIDE += tuple(f"vision_model.{name}" for name in _TOWER_BESIDE)
_TWO_TOWERS_BESIDE += ("visual_projection.",)

_CLIP, _TWO_TOWERS, _LAYER = "transformer.resblocks.{}", "encoder.layers.{}", "encoder.layer.{}"


def _two_towers(names: Table, resize: Method = "bicubic") -> tuple[Naming, Naming]:
    """Hugging Face's names of a tower in a file of both, and of one by itself."""
    owner = "Hugging Face's"
    both = by_table(names, _TWO_TOWERS, "vision_model.", beside_root=("head",))
    return (
        Naming(owner, both, _TWO_TOWERS_BESIDE, resize),
        Naming(owner, by_table(names, _TWO_TOWERS), _TOWER_BESIDE, resize),
    )


def _model(names: Table, block: str, resize: Method = "bicubic") -> Naming:
    """Hugging Face's names of a network without text."""
    return Naming("Hugging Face's", by_table(names, block), _MODEL_BESIDE, resize)


# The two classes resize differently.
_DINOV2_RESIZE: tuple[tuple[Table, Method], ...] = (
    ({}, "bicubic"),
    (_REGISTERS, "bicubic_antialias"),
)
# Where two fit alike, the first is taken.
NAMINGS = (
    Naming("timm's", by_name(dotted), _TIMM_BESIDE),
    Naming("Meta's", by_table(_META, "blocks.{}"), _TIMM_BESIDE),
    Naming("torchvision's", by_table(_TORCHVISION, "encoder.layers.encoder_layer_{}"), ("heads.",)),
    Naming("open_clip's", by_table(_OPENAI, _CLIP, "visual."), _CLIP_BESIDE),
    Naming("open_clip's", by_table(_OPENAI, _CLIP), _OPENAI_BESIDE),
    _model({**_VIT, **_ATTENTION_IN_FILES, **_VIT_MLP_IN_FILES}, _LAYER),
    _model({**_VIT, **_ATTENTION_IN_MODULES}, "layers.{}"),
    *(
        _model({**_DINOV2, **attention, **registers}, _LAYER, resize)
        for attention in (_ATTENTION_IN_FILES, _ATTENTION_IN_MODULES)
        for registers, resize in _DINOV2_RESIZE
    ),
    *_two_towers(_TOWER),
    *_two_towers(_NAFLEX, "bilinear_antialias"),
)
