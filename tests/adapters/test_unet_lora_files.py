"""LoRA files of image models: three layouts are told apart, and damaged ones refused."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import Any

import pytest
from adapter_drafts import Draft, packed

from skipstep.adapters import inspect_adapter
from skipstep.errors import AdapterError

BLOCK = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
KOHYA = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
ALPHAS = {"F32": struct.pack("<f", 3.0), "F16": struct.pack("<e", 3.0), "BF16": struct.pack("<f", 3.0)[2:]}


def file(path: Path, tensors: dict[str, tuple[int, ...]], **alphas: Any) -> Path:
    """A LoRA file of these shapes; alphas are put as `name=(dtype, bytes)` with `.alpha` behind the name."""
    draft = Draft(config={}, tensors={})
    for name, shape in tensors.items():
        draft.put(name, *shape)
    for name, (dtype, raw) in alphas.items():
        draft.tensors[f"{name}.alpha"] = (dtype, (), raw)
    path.write_bytes(packed(draft.tensors, {"ss_tag_frequency": '{"a": {"b": [1, 2]}}'}))
    return path


@pytest.mark.parametrize("dtype", ALPHAS)
def test_kohya(dtype: str, tmp_path: Path) -> None:
    pair = {f"{KOHYA}.lora_down.weight": (4, 64), f"{KOHYA}.lora_up.weight": (32, 4)}
    conv = {"lora_unet_conv_in.lora_down.weight": (8, 4, 3, 3), "lora_unet_conv_in.lora_up.weight": (32, 8, 1, 1)}
    info = inspect_adapter(file(tmp_path / "x.safetensors", pair | conv, **{KOHYA: (dtype, ALPHAS[dtype])}))
    assert (info.family, info.layout, info.ranks) == ("LoRA", "kohya", (4, 8))
    conv_in, query = info.modules
    assert (query.rank, query.alpha, query.scale, query.inputs, query.outputs) == (4, 3.0, 0.75, 64, 32)
    assert (conv_in.rank, conv_in.alpha, conv_in.scale) == (8, None, None)
    assert info.config == {}


@pytest.mark.parametrize(
    ("down", "up", "layout", "module"),
    [
        (f"unet.{BLOCK}.to_q.lora_A.weight", f"unet.{BLOCK}.to_q.lora_B.weight", "diffusers", f"unet.{BLOCK}.to_q"),
        (f"unet.{BLOCK}.to_q.lora.down.weight", f"unet.{BLOCK}.to_q.lora.up.weight", "diffusers", f"unet.{BLOCK}.to_q"),
        (
            f"unet.{BLOCK}.to_q.lora_linear_layer.down.weight",
            f"unet.{BLOCK}.to_q.lora_linear_layer.up.weight",
            "diffusers",
            f"unet.{BLOCK}.to_q",
        ),
        (
            f"{BLOCK}.processor.to_q_lora.down.weight",
            f"{BLOCK}.processor.to_q_lora.up.weight",
            "diffusers",
            f"{BLOCK}.processor.to_q",
        ),
        (
            f"base_model.model.{BLOCK}.to_q.lora_A.weight",
            f"base_model.model.{BLOCK}.to_q.lora_B.weight",
            "peft",
            f"base_model.model.{BLOCK}.to_q",
        ),
        ("lora_te_a_q_proj.lora_down.weight", "lora_te_a_q_proj.lora_up.weight", "kohya", "lora_te_a_q_proj"),
    ],
)
def test_layouts(down: str, up: str, layout: str, module: str, tmp_path: Path) -> None:
    info = inspect_adapter(file(tmp_path / "x.safetensors", {down: (4, 64), up: (32, 4)}))
    assert (info.layout, [(found.name, found.rank) for found in info.modules]) == (layout, [(module, 4)])


A, B = f"{KOHYA}.lora_down.weight", f"{KOHYA}.lora_up.weight"
OTHER = f"unet.{BLOCK}.to_k"
GOOD = {A: (4, 64), B: (32, 4)}


@pytest.mark.parametrize(
    ("tensors", "alphas", "begins"),
    [
        ({A: (4, 64)}, {}, f"module {KOHYA}: has no up matrix"),
        ({B: (32, 4)}, {}, f"module {KOHYA}: has no down matrix"),
        ({A: (4, 64), B: (32, 5)}, {}, f"shape of {KOHYA}: "),
        ({A: (4, 64, 3), B: (32, 4)}, {}, f"shape of {KOHYA}: "),
        ({A: (2000, 8), B: (8, 2000)}, {}, f"rank of {KOHYA}: must be 1..1024"),
        ({A: (0, 8), B: (8, 0)}, {}, f"rank of {KOHYA}: must be 1..1024"),
        ({**GOOD, f"{KOHYA}.hada_w1_a": (4, 4)}, {}, f"tensor '{KOHYA}.hada_w1_a'"),
        ({**GOOD, "model.diffusion_model.out.weight": (4, 4)}, {}, "tensor 'model.diffusion_model"),
        ({**GOOD, "../x.lora_down.weight": (4, 4)}, {}, "tensor '../x"),
        ({**GOOD, f"{OTHER}.lora_A.weight": (4, 4), f"{OTHER}.lora_B.weight": (4, 4)}, {}, "tensors: are named as"),
        ({**GOOD, f"{KOHYA}.lora.down.weight": (4, 64)}, {}, f"tensor {KOHYA}.lora.down.weight: is a second"),
        (GOOD, {KOHYA: ("F32", struct.pack("<f", float("nan")))}, f"alpha of {KOHYA}: must be finite"),
        (GOOD, {KOHYA: ("F16", struct.pack("<e", float("inf")))}, f"alpha of {KOHYA}: must be finite"),
        (GOOD, {KOHYA: ("F32", struct.pack("<f", 1e9))}, f"alpha of {KOHYA}: must be finite"),
        (GOOD, {"lora_unet_x": ("F32", struct.pack("<f", 1.0))}, "module lora_unet_x: has an alpha"),
        ({**GOOD, f"{KOHYA}.alpha": (2,)}, {}, f"tensor {KOHYA}.alpha: must be one number"),
        ({}, {}, "tensors: there are none"),
    ],
)
def test_damaged_files_are_refused_at_once(
    tensors: dict[str, tuple[int, ...]], alphas: dict[str, Any], begins: str, tmp_path: Path
) -> None:
    path = file(tmp_path / "x.safetensors", tensors, **alphas)
    started = time.process_time()  # which other processes do not lengthen
    with pytest.raises(AdapterError) as refused:
        inspect_adapter(path)
    assert time.process_time() - started < 0.05
    assert str(refused.value).startswith(begins)


@pytest.mark.parametrize("name", ["x.pt", "x.ckpt", "x.bin"])
def test_pickles_are_refused_by_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(AdapterError, match=f"^{name}: is neither a folder nor a .safetensors file"):
        inspect_adapter(tmp_path / name)


def test_a_pickle_named_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"\x80\x04\x95" + b"\0" * 5 + b"{cos\nsystem\n.")
    with pytest.raises(AdapterError, match="^x.safetensors: "):
        inspect_adapter(tmp_path / "x.safetensors")
