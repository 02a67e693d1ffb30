"""diffusers' names of a UNet's weights as those of the original checkpoints, which ComfyUI's `UNetModel` has.

`comfy.utils.unet_to_diffusers` does not know spatio-temporal blocks; these rules name all three demo models.
"""

from __future__ import annotations

from .weights import Weights

LAYERS = 2  # of every block: the demo models have as many as the models they stand for
_TOP = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_MIDDLE = {"resnets.0": "middle_block.0", "attentions.0": "middle_block.1", "resnets.1": "middle_block.2"}
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_TIME = {"temporal_transformer_blocks": "time_stack", "linear_1": "0", "linear_2": "2"}


def original_unet(weights: Weights) -> Weights:
    """The same weights under the names of the original checkpoints, without a prefix."""
    return {_original_name(name, weights): value for name, value in weights.items()}


def _original_name(name: str, weights: Weights) -> str:
    module, _, parameter = name.rpartition(".")
    if module in _TOP:
        return f"{_TOP[module]}.{parameter}"
    if name.startswith("mid_block."):
        _, kind, index, inner = name.split(".", 3)
        return f"{_MIDDLE[f'{kind}.{index}']}.{_inner_name(kind, inner)}"
    way, level, kind, index, inner = name.split(".", 4)
    block = (LAYERS + 1) * int(level) + int(index)
    if kind == "downsamplers":
        return f"input_blocks.{(LAYERS + 1) * (int(level) + 1)}.0.op.{parameter}"
    if kind == "upsamplers":
        attends = any(key.startswith(f"{way}.{level}.attentions.") for key in weights)
        return f"output_blocks.{block + LAYERS}.{1 + attends}.conv.{parameter}"
    place = f"input_blocks.{block + 1}" if way == "down_blocks" else f"output_blocks.{block}"
    return f"{place}.{int(kind == 'attentions')}.{_inner_name(kind, inner)}"


def _inner_name(kind: str, inner: str) -> str:
    words = inner.split(".")
    if kind == "attentions":
        return ".".join(_TIME.get(word, word) for word in words)
    if words[0] == "time_mixer":
        return inner
    stack = ["time_stack"] if words[0] == "temporal_res_block" else []
    words = words[1:] if words[0] in ("spatial_res_block", "temporal_res_block") else words
    return ".".join([*stack, RESNET[words[0]], *words[1:]])
