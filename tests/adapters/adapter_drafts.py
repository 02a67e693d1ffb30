"""Adapter folders made byte by byte, without torch or safetensors, so that any part of them can be wrong."""

from __future__ import annotations

import json
import math
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skipstep.adapters import BaseModel, Fingerprint

HIDDEN, KEYS, RANK, LAYERS = 32, 16, 4, 3
BASE = BaseModel(
    fingerprint=Fingerprint(architecture="llama", hidden_size=HIDDEN, layers=LAYERS, vocab_size=64, sample="a" * 64),
    heads=4,
    kv_heads=2,
    linears={
        f"model.layers.{layer}.self_attn.{name}_proj": (size, HIDDEN)
        for layer in range(LAYERS)
        for name, size in (("q", HIDDEN), ("k", KEYS), ("v", KEYS), ("o", HIDDEN))
    },
)
_WIDTHS = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8, "F64": 8}


@dataclass
class Draft:
    """An adapter before it is written: its config, and tensors as (dtype, shape, bytes) by name."""

    config: dict[str, Any]
    tensors: dict[str, tuple[str, tuple[int, ...], bytes]]
    metadata: dict[str, str] = field(default_factory=lambda: {"format": "pt"})

    def put(self, name: str, *shape: int, dtype: str = "F32", fill: bytes | None = None) -> None:
        """Add or replace a tensor of small random values, or of `fill` again and again."""
        count = math.prod(shape)
        values = random.Random(name)
        raw = struct.pack(f"<{count}f", *(values.uniform(-0.1, 0.1) for _ in range(count)))
        if dtype != "F32" or fill is not None:
            raw = (fill or b"\x00\x3c" * 4)[: _WIDTHS[dtype]] * count
        self.tensors[name] = (dtype, shape, raw)

    def write(self, folder: Path) -> Path:
        """Make the folder."""
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_text(json.dumps(self.config))
        (folder / "adapter_model.safetensors").write_bytes(packed(self.tensors, self.metadata))
        return folder


def packed(tensors: dict[str, tuple[str, tuple[int, ...], bytes]], metadata: dict[str, str] | None = None) -> bytes:
    """A safetensors file."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    data = b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    return framed(json.dumps(header).encode(), data)


def framed(header: bytes, data: bytes = b"") -> bytes:
    """A header and what follows, as safetensors has them."""
    return struct.pack("<Q", len(header)) + header + data


def rewrite(folder: Path, change: Callable[[str], str]) -> None:
    """Change the header of an adapter's weights as a text."""
    file = folder / "adapter_model.safetensors"
    raw = file.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    changed = change(raw[8 : 8 + length].decode())
    assert changed.encode() != raw[8 : 8 + length]
    file.write_bytes(framed(changed.encode(), raw[8 + length :]))


def lora_draft() -> Draft:
    """A sound LoRA of queries and values in all layers."""
    draft = Draft(
        config={
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": RANK,
            "lora_alpha": 8,
            "lora_dropout": 0.1,
            "bias": "none",
            "target_modules": ["q_proj", "v_proj"],
            "megatron_core": "megatron.core",
            "loftq_config": {},
            "peft_version": "0.21.2",
        },
        tensors={},
    )
    for layer in range(LAYERS):
        for name, outputs in (("q", HIDDEN), ("v", KEYS)):
            module = f"base_model.model.model.layers.{layer}.self_attn.{name}_proj"
            draft.put(f"{module}.lora_A.weight", RANK, HIDDEN)
            draft.put(f"{module}.lora_B.weight", outputs, RANK)
    return draft
