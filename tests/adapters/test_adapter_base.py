"""What is known of a base model is the same from its files and from memory, and tells models apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from adapter_drafts import packed
from safetensors.torch import load_file, save_file
from tiny_llm import tiny_llama
from transformers import LlamaConfig, LlamaForCausalLM

from skipstep.adapters import Fingerprint, base_of_folder, base_of_module
from skipstep.adapters.sidecar import read_sidecar, sidecar_bytes
from skipstep.errors import AdapterError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny Llama as transformers saves it."""
    tiny_llama().save_pretrained(str(tmp_path / "base"))
    return tmp_path / "base"


def test_a_folder_and_a_module_are_the_same_base(folder: Path) -> None:
    found = base_of_folder(folder)
    assert found == base_of_module(tiny_llama())
    assert (found.heads, found.kv_heads) == (4, 2)
    assert found.fingerprint.layers == 2
    assert found.linears["model.layers.1.self_attn.k_proj"] == (32, 64)
    assert found.linears["model.layers.1.mlp.down_proj"] == (64, 128)
    assert found.linears["lm_head"] == (32, 64)
    assert not any("embed" in name or "norm" in name for name in found.linears)


def test_several_files_are_one_base(folder: Path) -> None:
    whole = base_of_folder(folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    halves = [dict(list(tensors.items())[half::2]) for half in (0, 1)]
    places = {}
    for number, half in enumerate(halves):
        save_file(half, folder / f"part-{number}.safetensors")
        places |= dict.fromkeys(half, f"part-{number}.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert base_of_folder(folder) == whole


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_read_as_their_values(dtype: torch.dtype, tmp_path: Path) -> None:
    model = tiny_llama(dtype=dtype)
    model.save_pretrained(str(tmp_path / "base"))
    assert base_of_folder(tmp_path / "base") == base_of_module(model)
    assert base_of_folder(tmp_path / "base").fingerprint == base_of_module(model.float()).fingerprint
    assert base_of_module(model).fingerprint.difference(base_of_module(tiny_llama()).fingerprint) == "sample"


@pytest.mark.parametrize(
    ("other", "field"),
    [
        ({"hidden_size": 32}, "hidden_size"),
        ({"num_hidden_layers": 1}, "layers"),
        ({"vocab_size": 40}, "vocab_size"),
        ({}, "sample"),
    ],
)
def test_models_that_differ_have_other_fingerprints(other: dict[str, Any], field: str) -> None:
    first = tiny_llama()
    config = LlamaConfig(**{**first.config.to_dict(), **other})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        second = LlamaForCausalLM(config)
    assert base_of_module(first).fingerprint.difference(base_of_module(second).fingerprint) == field
    assert base_of_module(first).fingerprint.difference(base_of_module(tiny_llama()).fingerprint) is None


def test_a_tied_output_is_no_layer_of_its_own() -> None:
    with torch.random.fork_rng(devices=[]):
        tied = LlamaForCausalLM(LlamaConfig(**{**tiny_llama().config.to_dict(), "tie_word_embeddings": True}))
    assert "lm_head" not in base_of_module(tied).linears


def test_a_damaged_base_says_what_is_wrong(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": "64"}))
    with pytest.raises(AdapterError, match="^hidden_size: the base model's config has '64'"):
        base_of_folder(folder)
    (folder / "config.json").write_text(json.dumps(config))
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "../../secret.safetensors"}}))
    with pytest.raises(AdapterError, match="^weight_map: '../../secret.safetensors' is no file beside"):
        base_of_folder(folder)
    index.unlink()
    tensors = {"model.embed_tokens.weight": ("I64", (2,), b"\0" * 16)}
    (folder / "model.safetensors").write_bytes(packed(tensors))
    with pytest.raises(AdapterError, match="^model.safetensors: .* is I64; use an unquantised one"):
        base_of_folder(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(AdapterError, match="^model.safetensors: cannot be read"):
        base_of_folder(folder)


def test_the_note_beside_an_adapter_keeps_all(tmp_path: Path) -> None:
    mark = Fingerprint(architecture="llama", hidden_size=1, layers=2, vocab_size=3, sample="4")
    assert read_sidecar(tmp_path) is None
    (tmp_path / "skipstep.json").write_bytes(sidecar_bytes(mark))
    assert read_sidecar(tmp_path) == mark
