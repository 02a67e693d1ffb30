"""What diffusers calls the weights of an ldm UNet (original checkpoints, ComfyUI) of any depth and width."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_MIDDLE = {"0": "resnets.0", "1": "attentions.0", "2": "resnets.1"}
_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_ATTENTION = {
    "time_stack": "temporal_transformer_blocks",
    "time_pos_embed.0": "time_pos_embed.linear_1",
    "time_pos_embed.2": "time_pos_embed.linear_2",
}
_BLOCK = re.compile(r"(input_blocks|output_blocks)\.(\d+)\.(\d+)\.(.+)")


def diffusers_names(names: Iterable[str]) -> dict[str, str]:
    """What diffusers calls each of these weights; one that it does not have keeps its name."""
    every = sorted(names)
    places = _places(every)
    is_video = any(".time_stack." in name for name in every)
    return {name: _named(name, places, is_video=is_video) for name in every}


def _places(names: list[str]) -> dict[tuple[str, int], tuple[int, int]]:
    """The level and the position in it of every input and output block; a level ends with its change of size."""
    last = {"input_blocks": 0, "output_blocks": -1}
    ends = set()
    for name in names:
        found = _BLOCK.match(name)
        if found:
            way, index = found[1], int(found[2])
            last[way] = max(last[way], index)
            if re.match(r"(op|conv)\.(weight|bias)$", found[4]):
                ends.add((way, index))
    places = {}
    for way, first in (("input_blocks", 1), ("output_blocks", 0)):
        level = position = 0
        for index in range(first, last[way] + 1):
            places[way, index] = (level, position)
            position += 1
            if (way, index) in ends:
                level, position = level + 1, 0
    return places


def _named(name: str, places: dict[tuple[str, int], tuple[int, int]], *, is_video: bool) -> str:
    module, _, parameter = name.rpartition(".")
    if module in _ENDS:
        return f"{_ENDS[module]}.{parameter}"
    middle = re.match(r"middle_block\.(\d)\.(.+)", name)
    if middle:
        place = _MIDDLE[middle[1]]
        return f"mid_block.{place}.{_inner(place.split('.')[0], middle[2], is_video=is_video)}"
    found = _BLOCK.match(name)
    if not found:
        return name
    way, index, child, inner = found[1], int(found[2]), found[3], found[4]
    level, position = places[way, index]
    path = f"{'down' if way == 'input_blocks' else 'up'}_blocks.{level}"
    if re.match(r"(op|conv)\.(weight|bias)$", inner):
        return f"{path}.{'down' if inner[0] == 'o' else 'up'}samplers.0.conv.{parameter}"
    kind = "resnets" if child == "0" else "attentions"
    return f"{path}.{kind}.{position}.{_inner(kind, inner, is_video=is_video)}"


def _inner(kind: str, name: str, *, is_video: bool) -> str:
    if kind == "attentions":
        for theirs, ours in _ATTENTION.items():
            if name.startswith(f"{theirs}."):
                return ours + name.removeprefix(theirs)
        return name
    module, _, parameter = name.rpartition(".")
    if module == "time_mixer":
        return name
    stack = ""
    if is_video:
        stack = "temporal_res_block." if module.startswith("time_stack.") else "spatial_res_block."
    module = module.removeprefix("time_stack.")
    return f"{stack}{_RESNET.get(module, module)}.{parameter}"
