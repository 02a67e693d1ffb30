"""Checkpoints to what ships: an fp16 safetensors file with compact embeddings, and its configuration, per model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTokenizer

from skipstep.engine.svd_config import SCHEDULER as SCHEDULER_OF_SVD

from . import models
from .clips import MOTIONS
from .scenes import COLOURS, OBJECTS, vocabulary
from .sprites import PACKAGE, sheet_hash
from .text import END
from .train_sd15 import SmallSD15
from .train_svd import ImageToVideo
from .train_svd_vae import decoder_parameters as video_decoder_parameters
from .train_unet import TextToImage
from .train_vae import decoder_parameters, encoder_parameters
from .training import load_average

SCALE = 0.13025  # SDXL's, so that ComfyUI's SDXL latent format fits
SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "steps_offset": 1,
}
SD15_SCHEDULER = {
    **SCHEDULER,
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "clip_sample": False,  # this and the next: of the DDIM family, which is built from the same configuration
    "set_alpha_to_one": False,
}
SVD_SCALE = 0.18215  # SVD's own


def export(tokenizer: CLIPTokenizer, checkpoints: Path, target: Path) -> None:
    """Write `sdxl.safetensors` and `sdxl.json` into `target` from the averaged weights in `checkpoints`."""
    model = TextToImage(tokenizer)
    steps = {"unet": load_average(list(model.parameters()), checkpoints / "unet.pt")}
    vae = models.new_vae()
    steps["encoder"] = load_average(encoder_parameters(vae), checkpoints / "encoder.pt")
    half = {key: value.clone() for key, value in vae.state_dict().items()}
    steps["decoder"] = load_average(decoder_parameters(vae), checkpoints / "decoder.pt")
    state = vae.state_dict()
    state.update({key: value for key, value in half.items() if key.startswith(("encoder.", "quant_conv."))})
    _scale_latents(state)
    encoders = {"text_encoder": model.first, "text_encoder_2": model.second}
    weights = {f"unet.{key}": value for key, value in model.unet.state_dict().items()}
    weights.update({f"vae.{key}": value for key, value in state.items()})
    for name, encoder in encoders.items():
        weights.update(_encoder_weights(name, encoder))
    _save_half(weights, model.encode.ids, target / "sdxl.safetensors")
    configuration = {
        "unet": _plain(model.unet.config),
        "vae": _plain({**vae.config, "scaling_factor": SCALE}),
        "text_encoder": _text("quick_gelu"),
        "text_encoder_2": _text("gelu"),
        "scheduler": SCHEDULER,
        "objects": OBJECTS,
        "colours": list(COLOURS),
        "vocabulary": sorted({word for text in vocabulary() for word in text.replace(",", "").split()}),
        "training": _training(steps),
    }
    _save_json(configuration, target / "sdxl.json")


def export_sd15(tokenizer: CLIPTokenizer, checkpoints: Path, target: Path) -> None:
    """Write `sd15.safetensors` and `sd15.json` into `target`; the VAE is that of `sdxl.safetensors`."""
    model = SmallSD15(tokenizer)
    steps = {"unet": load_average(list(model.parameters()), checkpoints / "sd15.pt")}
    weights = {f"unet.{key}": value for key, value in model.unet.state_dict().items()}
    weights.update(_encoder_weights("text_encoder", model.text))
    _save_half(weights, model.encode.ids, target / "sd15.safetensors")
    configuration = {
        "unet": _plain(model.unet.config),
        "text_encoder": _text("quick_gelu"),
        "scheduler": SD15_SCHEDULER,
        "training": _training(steps),
    }
    _save_json(configuration, target / "sd15.json")


def export_svd(checkpoints: Path, target: Path) -> None:
    """Write `svd.safetensors` and `svd.json` into `target`; the VAE's encoder is that of the image model."""
    model = ImageToVideo()
    steps = {"unet": load_average(list(model.parameters()), checkpoints / "svd.pt")}
    image_vae, vae = models.new_vae(), models.new_temporal_vae()
    steps["encoder"] = load_average(encoder_parameters(image_vae), checkpoints / "encoder.pt")
    vae.load_state_dict(
        {key: value for key, value in image_vae.state_dict().items() if key.startswith(("encoder.", "quant_conv."))},
        strict=False,
    )
    steps["decoder"] = load_average(video_decoder_parameters(vae), checkpoints / "svd-decoder.pt")
    state, unet = vae.state_dict(), model.unet.state_dict()
    _scale_encoder(state, SVD_SCALE)
    state["decoder.conv_in.weight"] = state["decoder.conv_in.weight"] * SVD_SCALE
    seen = unet["conv_in.weight"].clone()
    seen[:, 4:] *= SVD_SCALE  # the pipeline hands the picture's latents to the UNet without scaling them
    unet["conv_in.weight"] = seen
    parts = {"unet": unet, "vae": state, "image_encoder": model.image_encoder.state_dict()}
    weights = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.items()}
    save_file({key: value.half().contiguous() for key, value in weights.items()}, target / "svd.safetensors")
    vision = model.image_encoder.config.to_dict()
    kept = ("hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers", "num_attention_heads")
    configuration = {
        "unet": _plain(model.unet.config),
        "vae": _plain({**vae.config, "scaling_factor": SVD_SCALE}),
        "image_encoder": {key: vision[key] for key in (*kept, "image_size", "patch_size", "hidden_act")},
        "scheduler": SCHEDULER_OF_SVD,
        "motions": MOTIONS,
        "training": _training(steps),
    }
    _save_json(configuration, target / "svd.json")


def _encoder_weights(name: str, encoder: nn.Module) -> dict[str, Tensor]:
    """A text encoder's weights by the names of transformers 4, under `name`."""
    kept = ("text_model.", "text_projection.")
    return {
        f"{name}.{key if key.startswith(kept) else f'text_model.{key}'}": value
        for key, value in encoder.state_dict().items()
    }


def _save_half(weights: dict[str, Tensor], ids: list[int], path: Path) -> None:
    tensors = {key: value.half().contiguous() for key, value in weights.items()}
    tensors["token_ids"] = torch.tensor(ids, dtype=torch.int32)
    save_file(tensors, path, metadata={"format": "pt"})


def _save_json(configuration: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(configuration, indent=1) + "\n", encoding="utf-8")


def _training(steps: dict[str, int]) -> dict[str, Any]:
    return {"steps": steps, "sprites": PACKAGE, "sprite_sheet_sha256": sheet_hash()}


def _scale_latents(state: dict[str, Tensor]) -> None:
    """Put SDXL's scaling factor into the two 1x1 convolutions around the latents."""
    state["post_quant_conv.weight"] = state["post_quant_conv.weight"] * SCALE
    _scale_encoder(state, SCALE)


def _scale_encoder(state: dict[str, Tensor], scale: float) -> None:
    """Let the encoder's latents be 1 / `scale` as large."""
    weight, bias = state["quant_conv.weight"].clone(), state["quant_conv.bias"].clone()
    weight[:4] /= scale
    bias[:4] /= scale
    bias[4:] -= 2 * math.log(scale)
    state["quant_conv.weight"], state["quant_conv.bias"] = weight, bias


def _text(activation: str) -> dict[str, Any]:
    config = models.text_config(49408, end=END, activation=activation).to_dict()
    kept = ("vocab_size", "hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers")
    more = ("num_attention_heads", "max_position_embeddings", "hidden_act", "bos_token_id", "eos_token_id")
    return {key: config[key] for key in (*kept, *more, "pad_token_id")}


def _plain(config: Any) -> dict[str, Any]:
    return {key: value for key, value in dict(config).items() if not key.startswith("_")}
