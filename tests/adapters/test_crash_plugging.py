"""Trained layers go into a file, into the full model, and out of it again without a trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_llm import batches, language, sentences, tiny_llama
from torch import Tensor

from skipstep.adapters.crash import (
    Emulator,
    OuterLayers,
    dropping,
    plug,
    read_outer_layers,
    save_outer_layers,
    trained_outer_layers,
    tune,
)
from skipstep.adapters.loop import LoopOptions
from skipstep.errors import AdapterError, AttachError, OptionError, OutputError

LANGUAGE = language(0)
IDS = sentences(LANGUAGE, count=2, length=12)
NAME = "self_attn.q_proj.weight"


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model(IDS).logits  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    """Of a model of 5 layers; 0, 3 and 4 are trained."""
    made = Emulator(tiny_llama(layers=5), dropping(5, trained=(0, 3, 4), kept=(2,)))
    tune(made, batches(LANGUAGE, count=5), LoopOptions(steps=5, learning_rate=1e-2))
    return made


@pytest.fixture
def saved(emulator: Emulator, tmp_path: Path) -> Path:
    save_outer_layers(emulator, tmp_path / "outer.safetensors")
    return tmp_path / "outer.safetensors"


def test_plugged_layers_are_the_trained_ones_and_reverting_leaves_nothing(emulator: Emulator, saved: Path) -> None:
    model = tiny_llama(layers=5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    output, pointers = logits(model), [value.data_ptr() for value in model.parameters()]
    with plug(model, read_outer_layers(saved)):
        for number, layer in emulator.trained_layers().items():
            for name, value in layer.state_dict().items():
                assert torch.equal(model.model.layers[number].state_dict()[name], value)
                assert not torch.equal(value, before[f"model.layers.{number}.{name}"]) or "layernorm" in name
        for number in (1, 2):
            for name, value in model.model.layers[number].state_dict().items():
                assert torch.equal(value, before[f"model.layers.{number}.{name}"])
        plugged = logits(model)
    assert float((plugged - output).abs().max()) > 0.01
    assert float((logits(model) - output).abs().max()) == 0.0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [value.data_ptr() for value in model.parameters()] == pointers
    with plug(model, trained_outer_layers(emulator)):
        assert torch.equal(logits(model), plugged)
    assert torch.equal(logits(model), output)


def test_the_file_says_what_it_holds(emulator: Emulator, saved: Path, tmp_path: Path) -> None:
    with safe_open(saved, framework="pt") as file:
        assert file.metadata() == {
            "format": "skipstep-crash-1",
            "train_layers": "0,3,4",
            "base_num_layers": "5",
            "dtype": "float32",
        }
        assert {name.split(".")[0] for name in file.keys()} == {"0", "1", "2"}  # noqa: SIM118 - not a mapping
    half = tmp_path / "half.safetensors"
    save_outer_layers(emulator, half, dtype="float16")
    assert half.stat().st_size < 0.6 * saved.stat().st_size
    model = tiny_llama(layers=5)
    output = logits(model)
    with plug(model, read_outer_layers(saved)):
        exact = logits(model)
    with plug(model, read_outer_layers(half)):
        assert next(model.parameters()).dtype == torch.float32
        assert 0 < float((logits(model) - exact).abs().max()) < 0.01
    assert torch.equal(logits(model), output)


def test_published_files_are_told_their_layers(saved: Path, tmp_path: Path) -> None:
    published = tmp_path / "adapter.safetensors"
    save_file(load_file(saved), published)
    with pytest.raises(AdapterError, match=r"does not say which layers it holds; name them with layers="):
        read_outer_layers(published)
    with pytest.raises(AdapterError, match=r"2.input_layernorm.weight is not a weight of one of 2 layers"):
        read_outer_layers(published, layers=(0, 4))
    with pytest.raises(AdapterError, match=r"names the layers \[0, 1, 3, 4\] and holds no weights of \[4\]"):
        read_outer_layers(published, layers=(0, 1, 3, 4))
    with pytest.raises(AdapterError, match=r"layers must be different numbers, got \[0, 0, 4\]"):
        read_outer_layers(published, layers=(0, 0, 4))
    one, other = tiny_llama(layers=5), tiny_llama(layers=5)
    plug(one, read_outer_layers(published, layers=(0, 3, 4)))
    plug(other, read_outer_layers(saved))
    assert torch.equal(logits(one), logits(other))


def test_reverting_out_of_order_changes_nothing(saved: Path) -> None:
    model = tiny_llama(layers=5)
    output, outer = logits(model), read_outer_layers(saved)
    first = plug(model, outer)
    middle = logits(model)
    doubled = {number: {name: value * 2 for name, value in weights.items()} for number, weights in outer.layers.items()}
    second = plug(model, OuterLayers(layers=doubled, total=5))
    both = logits(model)
    assert not torch.equal(middle, both)
    with pytest.raises(AttachError, match="changed after they were plugged in; revert the later change first"):
        first.revert()
    assert torch.equal(logits(model), both)
    second.revert()
    assert torch.equal(logits(model), middle)
    first.revert()
    assert torch.equal(logits(model), output)


def test_layers_trained_on_after_plugging_are_not_thrown_away(saved: Path) -> None:
    model = tiny_llama(layers=5)
    plugged = plug(model, read_outer_layers(saved))
    with torch.no_grad():
        model.model.layers[3].mlp.up_proj.weight[0, 0] += 1e-3
    with pytest.raises(AttachError, match="changed after they were plugged in"):
        plugged.revert()


def test_a_second_revert_does_nothing(saved: Path) -> None:
    model = tiny_llama(layers=5)
    plugged = plug(model, read_outer_layers(saved))
    plugged.revert()
    with torch.no_grad():
        model.model.layers[0].self_attn.q_proj.weight.add_(1)
    changed = logits(model)
    plugged.revert()
    assert torch.equal(logits(model), changed)


def test_layers_of_another_model_change_nothing(saved: Path) -> None:
    outer = read_outer_layers(saved)
    weights = outer.layers[0]
    cases = [
        (outer, 6, "the layers are of a model with 5 and this one has 6"),
        (OuterLayers(layers={7: weights}, total=None), 5, "there is no layer 7; the model has 0..4"),
        (OuterLayers(layers={0: {NAME: weights[NAME]}}, total=5), 5, "layer 0: input_layernorm.weight is missing"),
        (
            OuterLayers(layers={1: weights, 0: {**weights, "gate": weights[NAME]}}, total=5),
            5,
            "layer 0: gate is not a weight of this model",
        ),
        (
            OuterLayers(layers={1: weights, 2: {**weights, NAME: weights[NAME][:5]}}, total=5),
            5,
            r"layer 2: self_attn.q_proj.weight must be \(64, 64\) of floating point numbers, got \(5, 64\)",
        ),
    ]
    for wrong, layers, message in cases:
        model = tiny_llama(layers=layers)
        output = logits(model)
        with pytest.raises(AdapterError, match=message):
            plug(model, wrong)
        assert torch.equal(logits(model), output)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("0.x", torch.tensor([1.0, float("nan")]), "tensor 0.x: has a value that is NaN"),
        ("0.x", torch.tensor([1.0, float("inf")], dtype=torch.float64), "tensor 0.x: has a value that is NaN"),
        ("0.x", torch.tensor([1]), "dtype I64 of 0.x is not one of"),
        ("lm_head", torch.ones(1), "lm_head is not a weight of one of 3 layers"),
        ("3.x", torch.ones(1), "3.x is not a weight of one of 3 layers"),
    ],
)
def test_damaged_files_are_refused(saved: Path, name: str, value: Tensor, message: str) -> None:
    metadata = {"train_layers": "0,3,4", "base_num_layers": "5"}
    save_file({**load_file(saved), name: value}, saved, metadata=metadata)
    with pytest.raises(AdapterError, match=message):
        read_outer_layers(saved)


def test_metadata_and_files_that_are_none_are_refused(saved: Path, tmp_path: Path) -> None:
    tensors = load_file(saved)
    save_file(tensors, saved, metadata={"train_layers": "0,,4"})
    with pytest.raises(AdapterError, match="does not say which layers it holds"):
        read_outer_layers(saved)
    save_file(tensors, saved, metadata={"train_layers": "0,3,4", "base_num_layers": "many"})
    with pytest.raises(AdapterError, match="base_num_layers must be a number, got 'many'"):
        read_outer_layers(saved)
    pickle = tmp_path / "adapter.pt"
    pickle.write_bytes(b"\x80\x04" + b"." * 40)
    with pytest.raises(AdapterError, match=r"adapter.pt: is a pickle; `skipstep adapters convert` makes"):
        read_outer_layers(pickle)


def test_types_and_places_that_cannot_be_written_are_refused(emulator: Emulator, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="dtype must be one of float32, float16, bfloat16, float64, got 'int8'"):
        save_outer_layers(emulator, tmp_path / "x.safetensors", dtype="int8")
    with pytest.raises(OutputError, match="cannot write"):
        save_outer_layers(emulator, tmp_path / "missing" / "x.safetensors")
    assert list(tmp_path.iterdir()) == []
