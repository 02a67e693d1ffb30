"""Checkpoints to what ships: one fp16 safetensors file with compact embeddings, and its configuration."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTokenizer

from . import models
from .scenes import COLOURS, OBJECTS, vocabulary
from .sprites import PACKAGE, sheet_hash
from .text import END
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
        for key, value in encoder.state_dict().items():
            plain = key if key.startswith(("text_model.", "text_projection.")) else f"text_model.{key}"
            weights[f"{name}.{plain}"] = value
    tensors = {key: value.half().contiguous() for key, value in weights.items()}
    tensors["token_ids"] = torch.tensor(model.encode.ids, dtype=torch.int32)
    save_file(tensors, target / "sdxl.safetensors", metadata={"format": "pt"})
    configuration = {
        "unet": _plain(model.unet.config),
        "vae": _plain({**vae.config, "scaling_factor": SCALE}),
        "text_encoder": _text("quick_gelu"),
        "text_encoder_2": _text("gelu"),
        "scheduler": SCHEDULER,
        "objects": OBJECTS,
        "colours": list(COLOURS),
        "vocabulary": sorted({word for text in vocabulary() for word in text.replace(",", "").split()}),
        "training": {"steps": steps, "sprites": PACKAGE, "sprite_sheet_sha256": sheet_hash()},
    }
    (target / "sdxl.json").write_text(json.dumps(configuration, indent=1) + "\n", encoding="utf-8")


def _scale_latents(state: dict[str, Tensor]) -> None:
    """Put SDXL's scaling factor into the two 1x1 convolutions around the latents."""
    state["post_quant_conv.weight"] = state["post_quant_conv.weight"] * SCALE
    weight, bias = state["quant_conv.weight"].clone(), state["quant_conv.bias"].clone()
    weight[:4] /= SCALE
    bias[:4] /= SCALE
    bias[4:] -= 2 * math.log(SCALE)
    state["quant_conv.weight"], state["quant_conv.bias"] = weight, bias


def _text(activation: str) -> dict[str, Any]:
    config = models.text_config(49408, end=END, activation=activation).to_dict()
    kept = ("vocab_size", "hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers")
    more = ("num_attention_heads", "max_position_embeddings", "hidden_act", "bos_token_id", "eos_token_id")
    return {key: config[key] for key in (*kept, *more, "pad_token_id")}


def _plain(config: Any) -> dict[str, Any]:
    return {key: value for key, value in dict(config).items() if not key.startswith("_")}
