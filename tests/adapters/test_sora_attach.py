"""SoRA goes into a model, computes its formula there, and leaves no trace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_llm import language, sentences, tiny_llama
from torch import nn

from skipstep.adapters.sora import GatedFactors, GatedLinear, SoraOptions, SoraState, attach, initial_state
from skipstep.errors import AdapterError, AttachError, OptionError

IDS = sentences(language(0), count=2, length=12)


def trace(model: Any) -> list[object]:
    """All that attaching could change: modules by name and order, parameters, flags, modes."""
    return [
        [(name, id(module), module.training) for name, module in model.named_modules()],
        [(name, id(value), value.requires_grad) for name, value in model.named_parameters()],
        [(name, value.clone()) for name, value in model.state_dict().items()],
    ]


def random_state(model: Any, seed: int = 0, **options: Any) -> SoraState:
    """A state that changes outputs: its `up` is not zero."""
    state = initial_state(model, SoraOptions(**options))
    generator = torch.Generator().manual_seed(seed)
    modules = {
        name: replace(factors, up=torch.randn(factors.up.shape, generator=generator).to(factors.up.dtype) * 0.1)
        for name, factors in state.modules.items()
    }
    return SoraState(modules=modules, scale=state.scale)


def test_a_model_is_found_again_after_detaching() -> None:
    model = tiny_llama()
    model.lm_head.requires_grad_(False)
    model.model.layers[0].train()
    before, logits = trace(model), model(IDS).logits
    with attach(model, random_state(model)):
        assert trace(model)[0] != before[0]
        assert not torch.equal(model(IDS).logits, logits)
        trainable = [name for name, value in model.named_parameters() if value.requires_grad]
        assert len(trainable) == 2 * 7 * 3
        assert all(name.rsplit(".", 1)[1] in ("down", "gate", "up") for name in trainable)
    after = trace(model)
    assert after[:2] == before[:2]
    for (name, value), (known, expected) in zip(after[2], before[2], strict=True):  # type: ignore[call-overload]
        assert name == known
        assert torch.equal(value, expected)
    assert torch.equal(model(IDS).logits, logits)


def test_a_model_is_found_again_when_the_block_fails() -> None:
    model = tiny_llama()
    before = trace(model)
    with pytest.raises(KeyError), attach(model, random_state(model)):
        raise KeyError
    assert trace(model)[:2] == before[:2]


def test_the_layer_computes_its_formula() -> None:
    generator = torch.Generator().manual_seed(3)
    base = nn.Linear(5, 4, dtype=torch.float64)
    down, up = torch.randn(3, 5, generator=generator).double(), torch.randn(4, 3, generator=generator).double()
    gate, x = torch.tensor([0.5, 0.0, -2.0]).double(), torch.randn(2, 6, 5, generator=generator).double()
    layer = GatedLinear(base, GatedFactors(down=down, gate=gate, up=up), scale=1.5)
    expected = base(x).detach() + 1.5 * (x @ (up @ torch.diag(gate) @ down).T)
    output = layer(x).detach()
    assert float((output - expected).abs().max()) < 1e-14  # some rounding of sums of eight products
    assert float((output - base(x)).detach().abs().max()) > 0.1


def test_half_precision_stays_half() -> None:
    model = tiny_llama(dtype=torch.bfloat16)
    with attach(model, random_state(model)) as attached:
        assert {gate.dtype for gate in attached.gates()} == {torch.bfloat16}
        assert model(IDS).logits.dtype == torch.bfloat16


def test_a_new_adapter_changes_nothing_yet_and_follows_its_seed() -> None:
    model = tiny_llama()
    logits = model(IDS).logits
    state = initial_state(model, SoraOptions(seed=1))
    with attach(model, state):
        assert torch.equal(model(IDS).logits, logits)
    name = next(iter(state.modules))
    again, other = (initial_state(model, SoraOptions(seed=seed)).modules[name] for seed in (1, 2))
    assert torch.equal(again.gate, state.modules[name].gate)
    assert torch.equal(again.down, state.modules[name].down)
    assert not torch.equal(other.gate, again.gate)
    assert state.scale == 2
    assert state.average_rank() == 8


def test_targets_are_full_names_or_their_last_part() -> None:
    model = tiny_llama()
    chosen = initial_state(model, SoraOptions(targets=("model.layers.1.self_attn.q_proj", "down_proj")))
    assert list(chosen.modules) == [
        "model.layers.0.mlp.down_proj",
        "model.layers.1.self_attn.q_proj",
        "model.layers.1.mlp.down_proj",
    ]
    with pytest.raises(OptionError, match="no linear module is called 'qproj'; this model has down_proj, gate_proj"):
        initial_state(model, SoraOptions(targets=("q_proj", "qproj")))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rank": 0}, "rank must be 1..256, got 0"),
        ({"rank": 257}, "rank must be 1..256, got 257"),
        ({"alpha": 0.0}, "alpha must be above 0, got 0.0"),
        ({"targets": ()}, "targets must name at least one linear module"),
    ],
)
def test_options_out_of_range_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        SoraOptions(**wrong)


def test_a_second_adapter_is_refused() -> None:
    model = tiny_llama()
    state = random_state(model)
    with attach(model, state), pytest.raises(AttachError, match="attached to this model already"):
        attach(model, state)


def test_an_adapter_put_over_it_must_come_off_first() -> None:
    model = tiny_llama()
    attached = attach(model, random_state(model))
    attention = model.model.layers[0].self_attn
    ours, attention.q_proj = attention.q_proj, nn.Identity()
    with pytest.raises(AttachError, match=r"model.layers.0.self_attn.q_proj was replaced after SoRA was attached"):
        attached.detach()
    assert isinstance(attention.k_proj, GatedLinear)  # nothing was half undone
    attention.q_proj = ours
    attached.detach()
    attached.detach()
    assert isinstance(attention.k_proj, nn.Linear)


def test_an_adapter_for_another_model_changes_nothing() -> None:
    model, deeper = tiny_llama(layers=1), tiny_llama(layers=2)
    before = trace(model)
    with pytest.raises(AdapterError, match=r"the model has no module model.layers.1.mlp.down_proj"):
        attach(model, random_state(deeper))
    state = random_state(model, targets=("q_proj",))
    name, factors = next(iter(state.modules.items()))
    narrow = SoraState(modules={name: replace(factors, down=factors.down[:, :7])}, scale=1.0)
    with pytest.raises(AdapterError, match=r"q_proj is 64 x 64 and the adapter's 64 x 7"):
        attach(model, narrow)
    with pytest.raises(AdapterError, match="model.norm is a LlamaRMSNorm; SoRA adapts linear modules only"):
        attach(model, SoraState(modules={"model.norm": factors}, scale=1.0))
    assert trace(model)[:2] == before[:2]


def test_factors_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(AdapterError, match=r"down, gate and up must be \(rank, inputs\)"):
        GatedFactors(down=torch.zeros(2, 5), gate=torch.zeros(2), up=torch.zeros(5, 3))
    with pytest.raises(AdapterError, match="a gate of 3 values"):
        GatedFactors(down=torch.zeros(2, 5), gate=torch.zeros(3), up=torch.zeros(5, 2))
