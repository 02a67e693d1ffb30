"""Adapters that PEFT writes are accepted, and PEFT loads the same model from the fresh config."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft_adapters import FAMILIES, answers, load_adapter, make_adapter
from tiny_llm import tiny_llama

from skipstep.adapters import base_of_module, inspect_adapter
from skipstep.errors import AdapterError

BASE = base_of_module(tiny_llama(std=0.2))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_fresh_config_loads_the_same_adapter(name: str, tmp_path: Path) -> None:
    folder = make_adapter(name, tmp_path / "made")
    info = inspect_adapter(folder, root=tmp_path, base=BASE)
    assert info.family == name.split(" of ")[0]
    assert inspect_adapter(folder).modules == info.modules
    clean = tmp_path / "clean"
    clean.mkdir()
    (clean / "adapter_config.json").write_text(json.dumps(dict(info.config)))
    shutil.copy(folder / "adapter_model.safetensors", clean)
    expected = answers(folder)
    assert torch.equal(answers(clean), expected)
    plain = answers(None)
    assert (expected[:, -plain.shape[1] :] - plain).abs().max() > 1e-3  # the adapter does something
    assert inspect_adapter(clean, base=BASE).modules == info.modules  # a fresh config is sound itself


@pytest.mark.parametrize(
    "name", [name for name in FAMILIES if name.startswith(("LoRA", "rsLoRA", "DoRA", "LoHa", "LoKr"))]
)
def test_ranks_and_scales_are_those_that_peft_uses(name: str, tmp_path: Path) -> None:
    folder = make_adapter(name, tmp_path / "made")
    model = load_adapter(folder)
    used = {
        module.removeprefix("base_model.model."): (layer.r["default"], layer.scaling["default"])
        for module, layer in model.named_modules()
        if isinstance(getattr(layer, "scaling", None), dict) and "default" in layer.scaling
    }
    assert used
    assert {module.name: (module.rank, module.scale) for module in inspect_adapter(folder).modules} == used


@pytest.mark.filterwarnings("ignore:The following rank_pattern keys did not match:RuntimeWarning")  # PEFT's own keys
def test_a_pruned_adalora_loads_the_same(tmp_path: Path) -> None:
    folder = make_adapter("AdaLoRA", tmp_path / "made")
    config = json.loads((folder / "adapter_config.json").read_text())
    full = inspect_adapter(folder)
    kept = {f"{m.name}.lora_E": [index != 2 for index in range(6)] for m in full.modules if "q_proj" in m.name}
    (folder / "adapter_config.json").write_text(json.dumps({**config, "rank_pattern": kept}))
    with pytest.raises(AdapterError, match="^rank_pattern: gives .*q_proj rank 5, and its tensors have rank 6"):
        inspect_adapter(folder)
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "adapter_model.safetensors")
    rows = torch.tensor([0, 1, 3, 4, 5])
    for name in tensors:
        if "q_proj" in name:
            tensors[name] = tensors[name].index_select(1 if "lora_B" in name else 0, rows).contiguous()
    save_file(tensors, folder / "adapter_model.safetensors")
    info = inspect_adapter(folder, base=BASE)
    assert info.ranks == (5, 6)
    assert {module.scale for module in info.modules} == {8 / (6 + 1e-5)}
    expected = answers(folder)
    (folder / "adapter_config.json").write_text(json.dumps(dict(info.config)))
    assert torch.equal(answers(folder), expected)


BROKEN_FIELDS = [
    ("AdaLoRA", {"rank_pattern": {"q_proj.lora_E": [True] * 6}}, "rank_pattern: names"),
    ("AdaLoRA", {"rank_pattern": {"model.layers.0.self_attn.q_proj.lora_E": [1] * 6}}, "rank_pattern: must have 6"),
    ("AdaLoRA", {"init_r": 5}, "init_r: gives"),
    ("LoHa", {"alpha": None, "r": 3}, "r: gives"),
    ("LoHa", {"rank_pattern": {"q_proj": 5}}, "rank_pattern: gives"),
    ("LoKr", {"r": 200}, "r: gives"),
    ("LoKr", {"decompose_both": True, "r": 2}, "r: a rank of 2"),
    ("LoKr", {"decompose_factor": 10**9}, "decompose_factor: must be"),
    ("IA3", {"feedforward_modules": []}, "feedforward_modules: contradicts"),
    ("IA3", {"feedforward_modules": ".*"}, "feedforward_modules: '.*' is a regular"),
    ("OFT", {"oft_block_size": 8}, "oft_block_size: is 8"),
    ("OFT", {"r": 4}, "oft_block_size: one of"),
    ("OFT", {"r": 3, "oft_block_size": 0}, "r: gives"),
    ("OFT", {"num_cayley_neumann_terms": 10**6}, "num_cayley_neumann_terms: must be"),
    ("OFT", {"peft_version": "0.17.1"}, "peft_version: must be 0.18"),
    ("OFT", {"peft_version": None}, "peft_version: must be 0.18"),
    ("VeRA", {"r": 4}, "r: gives"),
    ("VeRA", {"save_projection": False}, "save_projection: must be true"),
    ("VeRA", {"projection_prng_key": -1}, "projection_prng_key: must be"),
    ("prompt tuning", {"num_virtual_tokens": 9}, "num_virtual_tokens: 9"),
    ("prompt tuning", {"num_virtual_tokens": 10**9}, "num_virtual_tokens: must be"),
    ("prompt tuning", {"tokenizer_kwargs": {"trust_remote_code": True}}, "tokenizer_kwargs: "),
    ("prompt tuning", {"num_layers": 7}, "num_layers: is 7"),
    ("p-tuning", {"token_dim": 32, "num_virtual_tokens": 16}, "num_virtual_tokens: 16"),
    ("prefix tuning", {"num_layers": 1, "token_dim": 64}, "token_dim: is 64"),
    ("prefix tuning", {"num_transformer_submodules": 2}, "num_transformer_submodules: must be"),
]


@pytest.mark.parametrize(("name", "fields", "begins"), BROKEN_FIELDS)
def test_fields_of_other_families_are_held_to_the_tensors(
    name: str, fields: dict[str, object], begins: str, tmp_path: Path
) -> None:
    folder = make_adapter(name, tmp_path / "made")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, **fields}))
    with pytest.raises(AdapterError) as refused:
        inspect_adapter(folder, base=BASE)
    assert str(refused.value).startswith(begins)


@pytest.mark.parametrize("name", ["DoRA", "AdaLoRA", "LoHa", "LoKr", "VeRA", "OFT"])
def test_a_family_with_a_tensor_missing_is_refused(name: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = make_adapter(name, tmp_path / "made")
    tensors = load_file(folder / "adapter_model.safetensors")
    del tensors[max(key for key in tensors if "layers.1" in key and "q_proj" in key)]
    save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(AdapterError, match="^(module|target_modules: tensors of) model.layers.1.self_attn.q_proj"):
        inspect_adapter(folder, base=BASE)


def test_veras_shared_matrices_must_serve_its_modules(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = make_adapter("VeRA", tmp_path / "made")
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors["base_model.vera_B"] = tensors["base_model.vera_B"][:-1].contiguous()
    save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(AdapterError, match="^vera_A, vera_B: shapes"):
        inspect_adapter(folder)
