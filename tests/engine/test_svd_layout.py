from __future__ import annotations

import hashlib
from typing import Any

import pytest
import torch
from models import randomised
from saved_svd import seeded, svd_outputs, svd_unet, svd_vae, svd_vision
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from skipstep.engine.svd_layout import PICTURE_VAE, UNET, VAE, VISION, from_original, read_places, to_original
from skipstep.errors import UnsupportedModelError

# Names and shapes of ComfyUI 0.30.0's UNetModel, AutoencodingEngine and AutoencoderKL and of open_clip 3.3.0's vision
# tower at the sizes of svd.yaml; the names are also those that DiffSynth-Studio lists for the published file.
FULL_SIZE_NAMES = 2300
FULL_SIZE_SHA256 = "ed5b0da7b03ddd5c20672cba65d48d658c84eec5c8832180593e0f32edc9fa31"  # of "NAME SHAPE" lines, sorted
FULL_SIZE_SHAPES = {  # some of them, to see what a wrong digest is about
    f"{UNET}label_emb.0.0.weight": (1280, 768),
    f"{UNET}input_blocks.4.0.time_stack.in_layers.2.weight": (640, 640, 3, 1, 1),
    f"{UNET}input_blocks.5.1.time_pos_embed.0.weight": (2560, 640),
    f"{UNET}output_blocks.8.0.skip_connection.weight": (640, 960, 1, 1),
    f"{VAE}encoder.conv_out.weight": (8, 512, 3, 3),
    f"{VAE}decoder.mid.attn_1.q.weight": (512, 512, 1, 1),
    f"{VAE}decoder.conv_out.time_mix_conv.weight": (3, 3, 3, 1, 1),
    f"{PICTURE_VAE}quant_conv.weight": (8, 8, 1, 1),
    f"{VISION}positional_embedding": (257, 1280),
    f"{VISION}transformer.resblocks.31.attn.in_proj_weight": (3840, 1280),
    f"{VISION}proj": (1280, 1024),
}

PAIRS = {  # one of each kind in a model of SVD's depth, worked out by hand from VideoUNet, VideoDecoder and OpenCLIP
    "unet": {
        "time_embedding.linear_2.bias": f"{UNET}time_embed.2.bias",
        "add_embedding.linear_1.weight": f"{UNET}label_emb.0.0.weight",
        "conv_in.weight": f"{UNET}input_blocks.0.0.weight",
        "down_blocks.0.downsamplers.0.conv.weight": f"{UNET}input_blocks.3.0.op.weight",
        "down_blocks.1.resnets.0.spatial_res_block.norm1.weight": f"{UNET}input_blocks.4.0.in_layers.0.weight",
        "down_blocks.1.resnets.1.spatial_res_block.conv2.weight": f"{UNET}input_blocks.5.0.out_layers.3.weight",
        "down_blocks.3.resnets.0.temporal_res_block.time_emb_proj.weight": (
            f"{UNET}input_blocks.10.0.time_stack.emb_layers.1.weight"
        ),
        "down_blocks.3.resnets.1.time_mixer.mix_factor": f"{UNET}input_blocks.11.0.time_mixer.mix_factor",
        "down_blocks.2.attentions.0.transformer_blocks.0.attn2.to_k.weight": (
            f"{UNET}input_blocks.7.1.transformer_blocks.0.attn2.to_k.weight"
        ),
        "down_blocks.2.attentions.1.temporal_transformer_blocks.0.ff_in.net.2.weight": (
            f"{UNET}input_blocks.8.1.time_stack.0.ff_in.net.2.weight"
        ),
        "down_blocks.0.attentions.0.time_pos_embed.linear_2.weight": f"{UNET}input_blocks.1.1.time_pos_embed.2.weight",
        "down_blocks.0.attentions.0.time_mixer.mix_factor": f"{UNET}input_blocks.1.1.time_mixer.mix_factor",
        "mid_block.resnets.1.temporal_res_block.norm2.bias": f"{UNET}middle_block.2.time_stack.out_layers.0.bias",
        "mid_block.attentions.0.proj_out.weight": f"{UNET}middle_block.1.proj_out.weight",
        "up_blocks.0.resnets.0.spatial_res_block.conv_shortcut.bias": f"{UNET}output_blocks.0.0.skip_connection.bias",
        "up_blocks.0.upsamplers.0.conv.weight": f"{UNET}output_blocks.2.1.conv.weight",
        "up_blocks.1.upsamplers.0.conv.weight": f"{UNET}output_blocks.5.2.conv.weight",
        "up_blocks.3.attentions.2.norm.weight": f"{UNET}output_blocks.11.1.norm.weight",
        "conv_norm_out.weight": f"{UNET}out.0.weight",
        "conv_out.weight": f"{UNET}out.2.weight",
    },
    "vae": {
        "encoder.down_blocks.0.downsamplers.0.conv.weight": f"{VAE}encoder.down.0.downsample.conv.weight",
        "encoder.mid_block.resnets.1.norm1.weight": f"{PICTURE_VAE}encoder.mid.block_2.norm1.weight",
        "encoder.mid_block.attentions.0.to_k.weight": f"{PICTURE_VAE}encoder.mid.attn_1.k.weight",
        "quant_conv.weight": f"{PICTURE_VAE}quant_conv.weight",
        "decoder.mid_block.attentions.0.to_out.0.weight": f"{VAE}decoder.mid.attn_1.proj_out.weight",
        "decoder.mid_block.attentions.0.group_norm.weight": f"{VAE}decoder.mid.attn_1.norm.weight",
        "decoder.mid_block.resnets.1.time_mixer.mix_factor": f"{VAE}decoder.mid.block_2.mix_factor",
        "decoder.up_blocks.0.resnets.2.spatial_res_block.conv1.weight": f"{VAE}decoder.up.3.block.2.conv1.weight",
        "decoder.up_blocks.3.resnets.0.temporal_res_block.conv1.weight": (
            f"{VAE}decoder.up.0.block.0.time_stack.in_layers.2.weight"
        ),
        "decoder.up_blocks.0.upsamplers.0.conv.weight": f"{VAE}decoder.up.3.upsample.conv.weight",
        "decoder.conv_norm_out.weight": f"{VAE}decoder.norm_out.weight",
        "decoder.conv_out.weight": f"{VAE}decoder.conv_out.weight",
        "decoder.time_conv_out.weight": f"{VAE}decoder.conv_out.time_mix_conv.weight",
    },
    "image_encoder": {
        "vision_model.embeddings.class_embedding": f"{VISION}class_embedding",
        "vision_model.embeddings.position_embedding.weight": f"{VISION}positional_embedding",
        "vision_model.embeddings.patch_embedding.weight": f"{VISION}conv1.weight",
        "vision_model.pre_layrnorm.weight": f"{VISION}ln_pre.weight",
        "vision_model.encoder.layers.1.layer_norm2.weight": f"{VISION}transformer.resblocks.1.ln_2.weight",
        "vision_model.encoder.layers.1.mlp.fc1.weight": f"{VISION}transformer.resblocks.1.mlp.c_fc.weight",
        "vision_model.encoder.layers.0.self_attn.out_proj.bias": f"{VISION}transformer.resblocks.0.attn.out_proj.bias",
    },
}

# Five of the values that ComfyUI 0.30.0 computes from the weights of `seeded`; open_clip 3.3.0 agrees on the last row.
# diffusers' UNet has an epsilon of 1e-6 in the norms beside attention and the original 1e-5, hence the tolerance.
COMFY = {
    "unet": (-0.21513, -0.11046, -0.44569, -0.75730, -1.19326),
    "encoder": (-0.06981, 0.11891, -0.24137, -0.14419, 0.56860),
    "decoder": (-0.44172, -0.18643, 0.46278, 0.37809, 0.28811),
    "image_encoder": (2.60643, -0.49875, -1.40067, 0.45443, -2.23620),
}
TOLERANCE = 1e-4


def _random(**changed: Any) -> dict[str, Any]:
    parts = {"unet": svd_unet(), "vae": svd_vae(), "image_encoder": svd_vision(), **changed}
    return {name: randomised(module, seed) for seed, (name, module) in enumerate(parts.items())}


def _filled(weights: dict[str, dict[str, Tensor]], **changed: Any) -> dict[str, Any]:
    """New modules with these weights and no others."""
    parts = _random(**changed)
    for name, module in parts.items():
        module.load_state_dict(weights[name], strict=True)
    return parts


def _assert_equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def _read(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if name.startswith(read_places(weights))}


def _values(weights: dict[str, Tensor]) -> int:
    return sum(value.numel() for value in weights.values())


def test_names_and_shapes_of_the_published_size() -> None:
    with torch.device("meta"):
        config = {**svd_unet((320, 640, 1280, 1280), layers=2).config, "cross_attention_dim": 1024}
        vision = CLIPVisionConfig(
            hidden_size=1280, intermediate_size=5120, projection_dim=1024, num_hidden_layers=32, num_attention_heads=16,
            image_size=224, patch_size=14,
        )  # fmt: skip
        parts = {
            "unet": type(svd_unet()).from_config(config),
            "vae": svd_vae((128, 256, 512, 512)),
            "image_encoder": CLIPVisionModelWithProjection(vision),
        }
    shapes = {name: tuple(value.shape) for name, value in to_original(parts).items()}
    assert {name: shapes.get(name) for name in FULL_SIZE_SHAPES} == FULL_SIZE_SHAPES
    assert len(shapes) == FULL_SIZE_NAMES
    lines = "".join(f"{name} {shapes[name]}\n" for name in sorted(shapes))
    assert hashlib.sha256(lines.encode()).hexdigest() == FULL_SIZE_SHA256


def test_each_kind_of_weight_lies_where_the_original_has_it() -> None:
    parts = _random(unet=svd_unet((32, 64, 32, 64), head=32, layers=2), vae=svd_vae((32, 32, 64, 64)))
    original = to_original(parts)
    for part, pairs in PAIRS.items():
        weights = parts[part].state_dict()
        wrong = [
            ours
            for ours, theirs in pairs.items()
            if not torch.equal(original[theirs].flatten(), weights[ours].flatten())
        ]
        assert wrong == []


def test_outputs_are_those_of_comfyui_on_the_same_weights() -> None:
    shapes = {name: tuple(value.shape) for name, value in to_original(_random()).items()}
    weights = seeded({name: shape for name, shape in shapes.items() if not name.startswith(PICTURE_VAE)})
    for name, output in svd_outputs(_filled(from_original(weights))).items():
        seen = output.flatten()[:: output.numel() // 5][:5]
        torch.testing.assert_close(seen, torch.tensor(COMFY[name]), rtol=0, atol=TOLERANCE, msg=name)


@pytest.mark.parametrize(
    ("unet", "vae"),
    [
        pytest.param({}, {}, id="two levels"),
        pytest.param({"widths": (32,), "head": 32}, {"widths": (32,)}, id="one level"),
        pytest.param({"widths": (32, 64, 32), "head": 32, "depth": (2, 1, 1)}, {"widths": (32, 64, 32)}, id="two deep"),
        pytest.param({"widths": (32, 64, 96), "head": 32, "layers": (1, 3, 2)}, {"widths": (32, 96)}, id="uneven"),
    ],
)
def test_there_and_back_gives_every_weight(unet: dict[str, Any], vae: dict[str, Any]) -> None:
    parts = _random(unet=svd_unet(**unet), vae=svd_vae(**vae))
    original = to_original(parts)
    back = from_original(original)
    for name, module in parts.items():
        _assert_equal(back[name], module.state_dict())
    assert sum(map(_values, back.values())) == _values(_read(original))  # nothing in the file is left over
    again = to_original(_filled(back, unet=svd_unet(**unet), vae=svd_vae(**vae)))
    _assert_equal(again, original)


def test_a_pipeline_is_parts_too_and_what_is_written_shares_no_memory() -> None:
    original = to_original({**_random(), "scheduler": None, "feature_extractor": None})
    places = {value.untyped_storage().data_ptr() for value in original.values()}
    assert len(places) == len(original)
    assert all(value.is_contiguous() for value in original.values())


@pytest.mark.parametrize("layers", [1, 3])
def test_a_vae_of_other_layers_decodes_the_same(layers: int) -> None:
    parts = _random(vae=svd_vae(layers=layers))
    original = to_original(parts)
    middle = {name.split(".")[3] for name in original if name.startswith(f"{VAE}decoder.mid.")}
    assert middle == {"block_1", "attn_1", "block_2"}  # what a VideoDecoder always has
    assert original[f"{VAE}decoder.mid.block_2.conv2.weight"].any() == (layers > 1)
    assert original[f"{VAE}decoder.mid.attn_1.proj_out.weight"].any() == (layers > 1)
    expected = svd_outputs(parts)
    found = svd_outputs(_filled(from_original(original), vae=svd_vae(layers=layers)))
    assert expected["decoder"].std() > 0.1
    _assert_equal(found, expected)


@pytest.mark.parametrize("name", ["block_2.time_stack.out_layers.3.bias", "attn_1.proj_out.weight"])
def test_a_middle_that_diffusers_would_skip_is_refused(name: str) -> None:
    original = to_original(_random(vae=svd_vae(layers=1)))
    original[f"{VAE}decoder.mid.{name}"] += 1
    with pytest.raises(UnsupportedModelError, match="neither attention nor a second block in the middle"):
        from_original(original)


def test_the_encoder_for_clips_is_that_for_pictures_with_its_last_convolution_merged() -> None:
    parts = _random()
    original = to_original(parts)
    merged = {name: value for name, value in original.items() if not name.startswith(PICTURE_VAE)}  # as ComfyUI saves
    assert not torch.equal(merged[f"{VAE}encoder.conv_out.weight"], original[f"{PICTURE_VAE}encoder.conv_out.weight"])
    found, expected = svd_outputs(_filled(from_original(merged))), svd_outputs(parts)
    assert expected["encoder"].std() > 0.1
    torch.testing.assert_close(found["encoder"], expected["encoder"], rtol=1e-5, atol=1e-5)  # rounded once more
    assert torch.equal(found["decoder"], expected["decoder"])


def test_the_joined_projection_is_torchs_own() -> None:
    vision = _random()["image_encoder"]
    original = to_original({**_random(), "image_encoder": vision})
    place = f"{VISION}transformer.resblocks.1.attn."
    attention = torch.nn.MultiheadAttention(160, 2, batch_first=True)
    attention.load_state_dict({name.removeprefix(place): v for name, v in original.items() if name.startswith(place)})
    given = torch.randn(1, 5, 160, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = vision.vision_model.encoder.layers[1].self_attn(given)[0]
        assert expected.std() > 0.1
        torch.testing.assert_close(attention(given, given, given)[0], expected)
        projected = given[:, 0] @ original[f"{VISION}proj"]
        torch.testing.assert_close(projected, vision.visual_projection(given[:, 0]))


@pytest.mark.parametrize(
    ("place", "name"),
    [(UNET, "input_blocks.1.0.adapter.weight"), (VAE, "decoder.mid.block_3.mix_factor"), (VISION, "ln_mid.weight")],
)
def test_weights_of_other_models_are_refused(place: str, name: str) -> None:
    original = to_original(_random())
    original[place + name] = torch.zeros(1)
    with pytest.raises(UnsupportedModelError, match=f"1 weights are not SVD's: {name}"):
        from_original(original)


def test_modules_with_more_than_svd_has_are_refused() -> None:
    parts = _random()
    parts["unet"].adapter = torch.nn.Linear(2, 2)
    with pytest.raises(UnsupportedModelError, match=r"2 weights are not SVD's: adapter\.weight, adapter\.bias"):
        to_original(parts)
