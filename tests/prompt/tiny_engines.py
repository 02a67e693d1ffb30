"""The tiny Llama in both engines, and adapters for it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import peft
import torch
from transformers import AutoModelForCausalLM

from skipstep.promptllm import ExpandRequest, load_preset

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TEXT = {"task_type": "CAUSAL_LM"}
CONFIGS: dict[str, Any] = {
    "LoRA": lambda: peft.LoraConfig(r=4, target_modules=ALL, **TEXT),
    "wide LoRA": lambda: peft.LoraConfig(r=7, lora_alpha=3, target_modules=["q_proj", "down_proj"], **TEXT),
    "patterned LoRA": lambda: peft.LoraConfig(
        r=4, target_modules=ALL, rank_pattern={"k_proj": 2}, alpha_pattern={"q_proj": 3}, **TEXT
    ),
    "rsLoRA": lambda: peft.LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules=ALL, **TEXT),
    "DoRA": lambda: peft.LoraConfig(r=4, use_dora=True, target_modules=ALL, **TEXT),
    "AdaLoRA": lambda: peft.AdaLoraConfig(init_r=6, target_r=3, total_step=10, target_modules=ALL, **TEXT),
    "LoHa": lambda: peft.LoHaConfig(r=4, target_modules=ALL, **TEXT),
    "LoKr": lambda: peft.LoKrConfig(r=2, target_modules=ALL, **TEXT),
    "IA3": lambda: peft.IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], **TEXT),
    "OFT": lambda: peft.OFTConfig(r=0, oft_block_size=8, target_modules=["q_proj"], **TEXT),
    "VeRA": lambda: peft.VeraConfig(r=8, target_modules=["q_proj", "o_proj"], **TEXT),
    "prompt tuning": lambda: peft.PromptTuningConfig(num_virtual_tokens=8, **TEXT),
    "p-tuning": lambda: peft.PromptEncoderConfig(num_virtual_tokens=8, encoder_hidden_size=32, **TEXT),
    "prefix tuning": lambda: peft.PrefixTuningConfig(num_virtual_tokens=8, **TEXT),
}


def tiny_adapter(kind: str, base: Path, folder: Path, *, seed: int = 7) -> Path:
    """A folder as PEFT writes it, of random weights that change every answer."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(str(base)), CONFIGS[kind]())
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data.add_(0.1 * torch.randn_like(parameter))
        model.save_pretrained(str(folder))
    return folder


def greedy(**fields: Any) -> ExpandRequest:
    """A short request whose answer has no chance in it."""
    return ExpandRequest(
        **{
            "prompt": "a cat",
            "preset": load_preset("photo"),
            "seed": 1,
            "temperature": 0.0,
            "max_tokens": 16,
            "timeout_s": 60.0,
            **fields,
        }
    )
