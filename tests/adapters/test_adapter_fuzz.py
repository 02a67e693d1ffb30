"""Whatever is in an adapter, it is accepted or refused with a reason: no other error comes out."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from adapter_drafts import BASE, Draft, lora_draft
from peft_adapters import FAMILIES, make_adapter
from tiny_llm import tiny_llama

from skipstep.adapters import BaseModel, base_of_module, inspect_adapter
from skipstep.adapters.config_fields import READ, REFUSED
from skipstep.errors import AdapterError

TINY = base_of_module(tiny_llama(std=0.2))
STRANGE: list[Any] = [
    *(None, True, False, 0, 1, -1, 3, 2**40, -(2**63), 0.5, -1e300, "", "none", "q_proj", "(a+)+$", "\u0000", "\ud800"),
    *(
        [],
        [None],
        ["q_proj"],
        [[1]],
        [True] * 6,
        {},
        {"q_proj": 4},
        {"q_proj": None},
        {"": 1},
        {"^": 1},
        {"a": {"b": 1}},
    ),
]


def outcome(folder: Path, base: BaseModel = BASE) -> str:
    """What a refusal says is wrong, which is before its colon, or "sound"."""
    try:
        inspect_adapter(folder, base=base)
    except AdapterError as error:
        return str(error).rpartition(":")[0].split(":")[0]
    return "sound"


@pytest.mark.parametrize("family", [name for name in FAMILIES if " of " not in name])
def test_any_value_in_any_field(family: str, tmp_path: Path) -> None:
    folder = make_adapter(family, tmp_path / "made")
    config = json.loads((folder / "adapter_config.json").read_text())
    pairs = [(field, value) for field in sorted({*config, *READ, *REFUSED}) for value in STRANGE]
    outcomes: Counter[str] = Counter()
    for field, value in random.Random(0).sample(pairs, 400):
        (folder / "adapter_config.json").write_text(json.dumps({**config, field: value}))
        outcomes[outcome(folder, TINY)] += 1
    assert len(outcomes) > 10
    assert outcomes["sound"] > 20
    assert outcomes[""] == 0  # each says what it is about


def test_any_byte_of_the_header(tmp_path: Path) -> None:
    folder = lora_draft().write(tmp_path / "made")
    file = folder / "adapter_model.safetensors"
    raw = file.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    chance = random.Random(0)
    outcomes: Counter[bool] = Counter()
    for _ in range(1000):
        changed = bytearray(raw)
        for _ in range(chance.randint(1, 3)):
            changed[chance.randrange(8 + length)] = chance.choice([chance.randrange(256), *b'"{}[]:,0123456789'])
        file.write_bytes(changed)
        outcomes[outcome(folder) == "sound"] += 1
    assert outcomes[False] > 700


def test_any_shape_and_name(tmp_path: Path) -> None:
    chance = random.Random(0)
    kinds = ("lora_A.weight", "lora_B.weight", "lora_A", "lora_E", "hada_w1_a", "ia3_l", "prompt_embeddings")
    outcomes: Counter[str] = Counter()
    for number in range(300):
        draft: Draft = lora_draft()
        name = chance.choice([*draft.tensors, "", ".", "base_model.model.", "base_model.model.a.b"])
        shape = [chance.choice([0, 1, 4, 16, 32, 33]) for _ in range(chance.randint(0, 4))]
        draft.put(f"{name}{chance.choice(['', f'.{chance.choice(kinds)}'])}", *shape[:3])
        outcomes[outcome(draft.write(tmp_path / str(number)))] += 1
    assert len(outcomes) > 5
    assert outcomes[""] == 0
