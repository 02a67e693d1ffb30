"""Names of original checkpoints as diffusers has them: the two forms of one model have one fingerprint."""

from __future__ import annotations

import pytest
import torch

from skipstep.demo import load_demo_svd
from skipstep.engine.svd_names import our_levels, renamed, unet_table
from skipstep.plan import fingerprint, ldm_fingerprint
from skipstep.plan.ldm_names import diffusers_names

# of SDXL, as published in both forms; blocks that end a level tell where the next one begins
SDXL = {
    "time_embed.0.weight": "time_embedding.linear_1.weight",
    "label_emb.0.2.bias": "add_embedding.linear_2.bias",
    "input_blocks.0.0.weight": "conv_in.weight",
    "input_blocks.1.0.in_layers.0.weight": "down_blocks.0.resnets.0.norm1.weight",
    "input_blocks.3.0.op.weight": "down_blocks.0.downsamplers.0.conv.weight",
    "input_blocks.4.0.skip_connection.bias": "down_blocks.1.resnets.0.conv_shortcut.bias",
    "input_blocks.5.1.transformer_blocks.1.attn2.to_k.weight": (
        "down_blocks.1.attentions.1.transformer_blocks.1.attn2.to_k.weight"
    ),
    "input_blocks.6.0.op.bias": "down_blocks.1.downsamplers.0.conv.bias",
    "input_blocks.8.0.out_layers.3.weight": "down_blocks.2.resnets.1.conv2.weight",
    "middle_block.0.emb_layers.1.weight": "mid_block.resnets.0.time_emb_proj.weight",
    "middle_block.1.proj_in.weight": "mid_block.attentions.0.proj_in.weight",
    "middle_block.2.in_layers.2.weight": "mid_block.resnets.1.conv1.weight",
    "output_blocks.0.1.norm.weight": "up_blocks.0.attentions.0.norm.weight",
    "output_blocks.2.2.conv.weight": "up_blocks.0.upsamplers.0.conv.weight",
    "output_blocks.5.2.conv.bias": "up_blocks.1.upsamplers.0.conv.bias",
    "output_blocks.3.0.out_layers.0.bias": "up_blocks.1.resnets.0.norm2.bias",
    "output_blocks.8.0.in_layers.0.weight": "up_blocks.2.resnets.2.norm1.weight",
    "out.0.weight": "conv_norm_out.weight",
    "out.2.bias": "conv_out.bias",
}
# a level of SD1.5 whose last block has no attention: its upsampler is the second module, not the third
SD15 = {
    "output_blocks.2.1.conv.weight": "up_blocks.0.upsamplers.0.conv.weight",
    "output_blocks.5.2.conv.weight": "up_blocks.1.upsamplers.0.conv.weight",
    "output_blocks.11.1.proj_out.weight": "up_blocks.3.attentions.2.proj_out.weight",
    "output_blocks.8.2.conv.weight": "up_blocks.2.upsamplers.0.conv.weight",
    "input_blocks.9.0.op.weight": "down_blocks.2.downsamplers.0.conv.weight",
    "input_blocks.11.0.in_layers.2.weight": "down_blocks.3.resnets.1.conv1.weight",
    "input_blocks.3.0.op.weight": "down_blocks.0.downsamplers.0.conv.weight",
    "input_blocks.6.0.op.weight": "down_blocks.1.downsamplers.0.conv.weight",
}


@pytest.mark.parametrize("pairs", [SDXL, SD15])
def test_published_names(pairs: dict[str, str]) -> None:
    assert diffusers_names(pairs) == pairs


def test_a_name_that_diffusers_does_not_have_stays() -> None:
    assert diffusers_names(["something.else"]) == {"something.else": "something.else"}


def test_both_forms_of_the_demo_svd_have_one_fingerprint() -> None:
    unet = load_demo_svd().unet
    ours = dict(unet.named_parameters())
    table = unet_table(our_levels(list(ours)))
    theirs = {str(renamed(name, table)): weight for name, weight in ours.items()}
    assert len(theirs) == len(ours)
    assert set(theirs) != set(ours)
    assert ldm_fingerprint(theirs) == fingerprint(unet)
    changed = {name: -weight for name, weight in theirs.items()}
    assert not ldm_fingerprint(changed).matches(fingerprint(unet))
    assert not ldm_fingerprint({**theirs, "more": torch.zeros(1)}).matches(fingerprint(unet))
