"""Names of Stable Video Diffusion's weights: diffusers' (called ours) and the original checkpoints' (theirs).

A table pairs the beginnings of names, ours to theirs; `inverted` is its other direction. How many levels and layers a
model has follows from its names, so that any depth and width will do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

Table = dict[str, str]  # a beginning is a whole name or ends before a dot


class Level(NamedTuple):
    """One resolution of the UNet; `first` is the index of its first input block."""

    first: int
    layers: int
    attention: bool


def _same(*names: str) -> Table:
    return {name: name for name in names}


def _under(ours: str, theirs: str, table: Table) -> Table:
    return {f"{ours}.{a}": f"{theirs}.{b}" for a, b in table.items()}


def _spatial(table: Table) -> Table:
    return {f"spatial_res_block.{a}": b for a, b in table.items()}


_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_TEMPORAL = _under("temporal_res_block", "time_stack", _RESNET)
_UNET_RESNET = _spatial(_RESNET) | _TEMPORAL | _same("time_mixer")
_UNET_ATTENTION = {
    **_same("norm", "proj_in", "transformer_blocks", "time_mixer", "proj_out"),
    "temporal_transformer_blocks": "time_stack",
    "time_pos_embed.linear_1": "time_pos_embed.0",
    "time_pos_embed.linear_2": "time_pos_embed.2",
}
_UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    **_under("mid_block.resnets.0", "middle_block.0", _UNET_RESNET),
    **_under("mid_block.attentions.0", "middle_block.1", _UNET_ATTENTION),
    **_under("mid_block.resnets.1", "middle_block.2", _UNET_RESNET),
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE_RESNET = {**_same("norm1", "conv1", "norm2", "conv2"), "conv_shortcut": "nin_shortcut"}
_VAE_VIDEO_RESNET = _spatial(_VAE_RESNET) | _TEMPORAL | {"time_mixer.mix_factor": "mix_factor"}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_VAE_MIDDLE = {**_same("conv_in", "conv_out"), "conv_norm_out": "norm_out"} | _under(
    "mid_block.attentions.0", "mid.attn_1", _VAE_ATTENTION
)
_VAE_ENDS = {
    **_under("encoder", "encoder", _VAE_MIDDLE),
    **_under("encoder.mid_block.resnets.0", "encoder.mid.block_1", _VAE_RESNET),
    **_under("encoder.mid_block.resnets.1", "encoder.mid.block_2", _VAE_RESNET),
    **_same("quant_conv"),
    **_under("decoder", "decoder", _VAE_MIDDLE),
    **_under("decoder.mid_block.resnets.0", "decoder.mid.block_1", _VAE_VIDEO_RESNET),
    **_under("decoder.mid_block.resnets.1", "decoder.mid.block_2", _VAE_VIDEO_RESNET),
    "decoder.time_conv_out": "decoder.conv_out.time_mix_conv",
}
_VISION_LAYER = {
    "layer_norm1": "ln_1",
    "self_attn.in_proj_weight": "attn.in_proj_weight",  # of q, k and v, which are one here
    "self_attn.in_proj_bias": "attn.in_proj_bias",
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_VISION_ENDS = {
    "vision_model.embeddings.class_embedding": "class_embedding",
    "vision_model.embeddings.patch_embedding": "conv1",
    "vision_model.embeddings.position_embedding.weight": "positional_embedding",
    "vision_model.pre_layrnorm": "ln_pre",
    "vision_model.post_layernorm": "ln_post",
    "visual_projection.weight": "proj",
}


def renamed(name: str, table: Table) -> str | None:
    """The name with its longest beginning in the table replaced; None if the table has none of its beginnings."""
    stem = name
    while stem and stem not in table:
        stem = stem.rpartition(".")[0]
    return table[stem] + name[len(stem) :] if stem else None


def inverted(table: Table) -> Table:
    """Theirs to ours."""
    return {theirs: ours for ours, theirs in table.items()}


def count(names: Iterable[str], place: str) -> int:
    """How many numbered things are under `place`."""
    start = f"{place}."
    numbers = (name[len(start) :].split(".", 1)[0] for name in names if name.startswith(start))
    return 1 + max((int(number) for number in numbers if number.isdecimal()), default=-1)


def our_levels(names: Collection[str]) -> list[Level]:
    """The UNet's levels, by our names."""
    levels, first = [], 1
    for at in range(count(names, "down_blocks")):
        layers = count(names, f"down_blocks.{at}.resnets")
        levels.append(Level(first, layers, count(names, f"down_blocks.{at}.attentions") > 0))
        first += layers + 1
    return levels


def their_levels(names: Collection[str]) -> list[Level]:
    """The UNet's levels, by their names."""
    blocks = range(1, count(names, "input_blocks"))
    halvings = [at for at in blocks if f"input_blocks.{at}.0.op.weight" in names]
    ends = [0, *halvings, len(blocks) + 1]
    return [
        Level(start + 1, end - start - 1, f"input_blocks.{start + 1}.1.norm.weight" in names)
        for start, end in pairwise(ends)
    ]


def unet_table(levels: Sequence[Level]) -> Table:
    """Of `UNetSpatioTemporalConditionModel` and VideoUNet."""
    table, output = dict(_UNET_ENDS), 0
    for at, (first, layers, attention) in enumerate(levels):
        for layer in range(layers):
            table |= _unet_layer(f"down_blocks.{at}", layer, f"input_blocks.{first + layer}", attention)
        table[f"down_blocks.{at}.downsamplers.0.conv"] = f"input_blocks.{first + layers}.0.op"
    for at, (_, layers, attention) in enumerate(reversed(levels)):
        for layer in range(layers + 1):
            table |= _unet_layer(f"up_blocks.{at}", layer, f"output_blocks.{output + layer}", attention)
        output += layers + 1
        table[f"up_blocks.{at}.upsamplers.0.conv"] = f"output_blocks.{output - 1}.{1 + attention}.conv"
    return table


def _unet_layer(block: str, layer: int, theirs: str, attention: bool) -> Table:
    table = _under(f"{block}.resnets.{layer}", f"{theirs}.0", _UNET_RESNET)
    return table | (_under(f"{block}.attentions.{layer}", f"{theirs}.1", _UNET_ATTENTION) if attention else {})


def vae_table(levels: int, layers: int) -> Table:
    """Of `AutoencoderKLTemporalDecoder` and AutoencodingEngine with a VideoDecoder; `layers` are the encoder's."""
    table = dict(_VAE_ENDS)
    for at in range(levels):
        down, up = f"encoder.down.{at}", f"decoder.up.{levels - 1 - at}"
        for layer in range(layers):
            table |= _under(f"encoder.down_blocks.{at}.resnets.{layer}", f"{down}.block.{layer}", _VAE_RESNET)
        for layer in range(layers + 1):
            table |= _under(f"decoder.up_blocks.{at}.resnets.{layer}", f"{up}.block.{layer}", _VAE_VIDEO_RESNET)
        table[f"encoder.down_blocks.{at}.downsamplers.0.conv"] = f"{down}.downsample.conv"
        table[f"decoder.up_blocks.{at}.upsamplers.0.conv"] = f"{up}.upsample.conv"
    return table


def vision_table(layers: int) -> Table:
    """Of `CLIPVisionModelWithProjection` and OpenCLIP's vision tower."""
    table = dict(_VISION_ENDS)
    for at in range(layers):
        table |= _under(f"vision_model.encoder.layers.{at}", f"transformer.resblocks.{at}", _VISION_LAYER)
    return table
