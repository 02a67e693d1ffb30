"""The canonical form and GGUF have the products of the adapter that they were made from."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy
import pytest
import torch
from numpy.typing import NDArray
from peft_adapters import FAMILIES, answers, make_adapter
from safetensors.torch import load_file
from tiny_llm import tiny_llama

from skipstep.adapters import AdapterInfo, BaseModel, base_of_module, inspect_adapter, write_canonical, write_gguf
from skipstep.adapters.gguf_file import paired
from skipstep.errors import AdapterError, OutputError

Arrays = dict[str, NDArray[numpy.float64]]
FOLDABLE = [name for name in FAMILIES if name.startswith(("LoRA", "rsLoRA", "AdaLoRA"))]
BASE = base_of_module(tiny_llama(std=0.2))
OTHERS = [name for name in FAMILIES if name not in FOLDABLE]


def products(folder: Path, info: AdapterInfo) -> Arrays:
    """What the adapter adds to each weight, in float64."""
    tensors = load_file(folder / "adapter_model.safetensors")
    found = {}
    for module in info.modules:
        name, end = f"base_model.model.{module.name}.lora_", "" if info.family == "AdaLoRA" else ".weight"
        a, b = (tensors[f"{name}{half}{end}"].double() for half in "AB")
        if info.family == "AdaLoRA":
            a = tensors[f"{name}E"].double() * a
        found[module.name] = ((b @ a) * module.scale).numpy()
    return found


def assert_close(found: Arrays, expected: Arrays) -> None:
    """Within the rounding of float32, relative to the largest value of each."""
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert numpy.abs(value).max() > 1e-3
        assert numpy.abs(found[name] - value).max() <= 1e-6 * numpy.abs(value).max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", FOLDABLE)
def test_the_canonical_form_scales_by_one_and_is_the_same(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    made = make_adapter(name, tmp_path / "made", dtype=dtype)
    before = inspect_adapter(made)
    write_canonical(before, tmp_path / "out", base=BASE)
    after = inspect_adapter(tmp_path / "out", base=BASE)
    assert {module.scale for module in after.modules} == {1.0}
    assert [module.rank for module in after.modules] == [module.rank for module in before.modules]
    assert after.warnings == ()  # its note says which base model it is for
    assert after.base == BASE.fingerprint
    assert_close(products(tmp_path / "out", after), products(made, before))
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["lora_alpha"] == config["r"] == max(after.ranks)  # 1 for those who read no more than these
    assert not config["use_rslora"]
    expected = answers(made)
    assert (answers(tmp_path / "out") - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert not torch.equal(expected, answers(None))


@pytest.mark.parametrize("name", FOLDABLE)
def test_gguf_has_the_same_products_in_llama_cpps_order(name: str, tmp_path: Path) -> None:
    made = make_adapter(name, tmp_path / "made")
    info = inspect_adapter(made, base=BASE)
    write_gguf(info, tmp_path / "out.gguf", base=BASE)
    reader = gguf.GGUFReader(tmp_path / "out.gguf")
    fields = {key: reader.get_field(key).contents() for key in reader.fields if not key.startswith("GGUF.")}
    assert fields == {
        "general.architecture": "llama",
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": 0.0,
    }
    tensors = {tensor.name: tensor.data.astype(numpy.float64) for tensor in reader.tensors}
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v"}
    names |= {"self_attn.o_proj": "attn_output"} | {
        f"mlp.{kind}_proj": f"ffn_{kind}" for kind in ("gate", "up", "down")
    }
    found = {}
    for module in info.modules:
        layer, kind = module.name.removeprefix("model.layers.").split(".", 1)
        a, b = (tensors.pop(f"blk.{layer}.{names[kind]}.weight.lora_{half}") for half in "ab")
        product = b @ a
        if kind.endswith(("q_proj", "k_proj")):
            heads = BASE.heads if kind.endswith("q_proj") else BASE.kv_heads
            order = rotary_order(len(product), heads)
            assert not numpy.array_equal(product, product[order])
            product = product[order]
        found[module.name] = product
    assert tensors == {}
    assert_close(found, products(made, info))


def rotary_order(rows: int, heads: int) -> list[int]:
    """Where each row of transformers is in llama.cpp: its halves of a head alternate there."""
    size = rows // heads
    return [head * size + 2 * (row % (size // 2)) + row // (size // 2) for head in range(heads) for row in range(size)]


def test_pairs_of_rows_of_one_head() -> None:
    rows = numpy.arange(8, dtype=numpy.float32)[:, None]
    assert paired(rows, heads=1)[:, 0].tolist() == [0, 4, 1, 5, 2, 6, 3, 7]
    assert paired(rows, heads=2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    with pytest.raises(AdapterError, match="8 rows are no pairs in 3 heads"):
        paired(rows, heads=3)


@pytest.mark.parametrize("name", OTHERS)
def test_other_families_are_not_written_as_plain_matrices(name: str, tmp_path: Path) -> None:
    info = inspect_adapter(make_adapter(name, tmp_path / "made"))
    for write in (write_canonical, write_gguf):
        with pytest.raises(AdapterError, match=f"^family: {info.family} of a language model cannot be written"):
            write(info, tmp_path / "out", base=BASE)
    assert not (tmp_path / "out").exists()


def test_other_architectures_are_not_written_as_gguf(tmp_path: Path) -> None:
    info = inspect_adapter(make_adapter("LoRA", tmp_path / "made"))
    mark = type(BASE.fingerprint)(**{**vars(BASE.fingerprint), "architecture": "gemma3"})
    base = BaseModel(fingerprint=mark, heads=4, kv_heads=2, linears=BASE.linears)
    with pytest.raises(AdapterError, match="^architecture: 'gemma3'"):
        write_gguf(info, tmp_path / "out.gguf", base=base)


def test_nothing_is_overwritten_and_a_changed_file_is_seen(tmp_path: Path) -> None:
    made = make_adapter("LoRA", tmp_path / "made")
    info = inspect_adapter(made)
    before = {file.name: file.read_bytes() for file in made.iterdir()}
    with pytest.raises(OutputError, match="is not empty"):
        write_canonical(info, made)
    assert {file.name: file.read_bytes() for file in made.iterdir()} == before
    make_adapter("LoRA of one layer", made)
    with pytest.raises(AdapterError, match="changed since it was inspected"):
        write_canonical(info, tmp_path / "out")
