"""The layout in which SoRA's authors publish checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_llm import language, sentences, tiny_llama
from torch import Tensor

from skipstep.adapters.sora import attach, published_state, read_published
from skipstep.errors import AdapterError

NAME = "model.layers.0.self_attn.q_proj"
CONFIG = {"delta_type": "lora", "lora_r": 3, "lora_alpha": 12, "modified_modules": ["q_proj"]}


def published() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        f"{NAME}.lora.lora_A": torch.randn(3, 64, generator=generator),
        f"{NAME}.lora.lora_B": torch.randn(64, 3, generator=generator),
        f"{NAME}.lora.gate": torch.tensor([[0.5, 0.0, -1.0]]),
    }


def test_a_published_checkpoint_computes_its_formula(tmp_path: Path) -> None:
    tensors = published()
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    state = read_published(tmp_path / "model.safetensors", tmp_path / "config.json")
    assert state.ranks() == {NAME: 2}
    model = tiny_llama()
    seen: list[tuple[Tensor, Tensor]] = []

    def see(_module: Any, args: Any, output: Tensor) -> None:
        seen.append((args[0], output))

    model.get_submodule(NAME).register_forward_hook(see)
    with attach(model, state), torch.no_grad():
        model.get_submodule(NAME).register_forward_hook(see)
        model(sentences(language(0), count=1))
    (x, base), (_, adapted) = seen
    a, b, gate = (tensors[f"{NAME}.lora.{part}"] for part in ("lora_A", "lora_B", "gate"))
    expected = ((x @ a.T) * gate) @ b.T * 12 / 3
    assert float(expected.abs().max()) > 1
    assert torch.allclose(adapted - base, expected, atol=1e-4)  # float32, values around 30


def test_what_was_trained_beside_it_is_refused_unless_left_out() -> None:
    tensors = {**published(), "classifier.dense.weight": torch.ones(2, 2), "norm.weight": torch.ones(2)}
    with pytest.raises(AdapterError, match=r"classifier.dense.weight is no part of SoRA"):
        published_state(tensors, CONFIG)
    with pytest.raises(AdapterError, match=r"norm.weight is no part of SoRA"):
        published_state(tensors, CONFIG, leave_out=["classifier"])
    with pytest.raises(AdapterError, match=r"classifier.dense.weight"):
        published_state(tensors, CONFIG, leave_out=["class", "norm.weight"])
    assert published_state(tensors, CONFIG, leave_out=["classifier", "norm.weight"]).ranks() == {NAME: 2}


@pytest.mark.parametrize("part", ["lora_A", "lora_B", "gate"])
def test_a_part_that_is_missing_is_named(part: str) -> None:
    tensors = published()
    del tensors[f"{NAME}.lora.{part}"]
    with pytest.raises(AdapterError, match=f"{NAME}.lora.{part} is missing"):
        published_state(tensors, CONFIG)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lora_r": 4}, r"gate must be \(1, 4\) as lora_r says, got \(1, 3\)"),
        ({"lora_r": 0}, "lora_r must be an integer from 1, got 0"),
        ({"lora_r": True}, "lora_r must be an integer from 1, got True"),
        ({"lora_alpha": None}, "lora_alpha must be a number above 0, got None"),
        ({"lora_alpha": float("nan")}, "lora_alpha must be a number above 0, got nan"),
    ],
)
def test_fields_that_do_not_fit_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(AdapterError, match=message):
        published_state(published(), {**CONFIG, **wrong})


def test_other_files_are_refused(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(CONFIG))
    pickle = tmp_path / "pytorch_model.bin"
    pickle.write_bytes(b"\x80\x04" + b"." * 40)
    with pytest.raises(AdapterError, match=r"pytorch_model.bin: is a pickle; `skipstep adapters convert` makes"):
        read_published(pickle, config)
    save_file(published(), tmp_path / "model.safetensors")
    config.write_text("{")
    with pytest.raises(AdapterError, match="^config.json: is no JSON at line 1"):
        read_published(tmp_path / "model.safetensors", config)
    config.write_text("[1]")
    with pytest.raises(AdapterError, match="^config.json: must be a JSON object, got list"):
        read_published(tmp_path / "model.safetensors", config)
    with pytest.raises(AdapterError, match=r"there is no <module>.lora.gate among the tensors"):
        published_state({}, CONFIG)
    config.write_text(json.dumps(CONFIG))
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "model.safetensors")
    with pytest.raises(AdapterError, match=r"^link.safetensors: is a link"):
        read_published(tmp_path / "link.safetensors", config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw + b"x", "trailing or missing bytes"),
        (lambda raw: raw[:-4], "trailing or missing bytes"),
        (lambda raw: raw.replace(b'"F32"', b'"I32"'), "dtype I32 of .* is not one of F32, F16, BF16, F64"),
        (lambda raw: raw[:-4] + b"\0\0\xc0\x7f", "has a value that is NaN, infinite or beyond 1.7e38"),
    ],
)
def test_a_file_is_looked_at_before_it_is_loaded(
    change: Callable[[bytes], bytes], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(published(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    raw = (tmp_path / "model.safetensors").read_bytes()
    assert change(raw) != raw
    (tmp_path / "model.safetensors").write_bytes(change(raw))
    monkeypatch.setattr("safetensors.safe_open", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(AdapterError, match=message):
        read_published(tmp_path / "model.safetensors", tmp_path / "config.json")
