"""An emulator is the full model with other layers: its own code and cache, the full model's weights."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tiny_llm import WORDS, batches, language, sentences, tiny_llama
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

from skipstep.adapters.crash import Composition, Emulator, decoder_layers, dropping, middle_layers, sharing, tune
from skipstep.adapters.loop import LoopOptions
from skipstep.errors import AdapterError, OptionError

LANGUAGE = language(0)
IDS = sentences(LANGUAGE, count=2, length=12)
NO_TOKENS: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
DROPPED = dropping(6, trained=(0, 5), kept=(2, 3))
SHARED = sharing(6, trained=(0, 5), kept=(2, 3))


def llama() -> Any:
    return tiny_llama(layers=6, std=0.2)


def gpt2() -> Any:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=WORDS, n_embd=32, n_layer=6, n_head=4, initializer_range=0.2, **NO_TOKENS)
    return GPT2LMHeadModel(config).eval()


def qwen() -> Any:
    """Full and sliding attention in turns."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=WORDS,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        use_sliding_window=True,
        sliding_window=4,
        layer_types=["full_attention", "sliding_attention"] * 3,
        initializer_range=0.2,
        tie_word_embeddings=True,
        **NO_TOKENS,
    )
    return Qwen2ForCausalLM(config).eval()


FAMILIES = pytest.mark.parametrize("make", [llama, gpt2, qwen], ids=["llama", "gpt2", "qwen2"])


def logits(model: Any, ids: torch.Tensor = IDS) -> torch.Tensor:
    with torch.no_grad():
        return model(ids, use_cache=False).logits  # type: ignore[no-any-return]


def layer_by_layer(model: Any, slots: tuple[int, ...]) -> torch.Tensor:
    """The oracle: a copy of the model whose list of layers is written anew; it runs without a cache."""
    own = copy.deepcopy(model)
    layers = decoder_layers(own)
    chosen = [layers[number] for number in slots]
    for _ in range(len(layers)):
        del layers[0]
    layers.extend(chosen)
    own.config.num_hidden_layers = len(slots)
    if getattr(own.config, "layer_types", None) is not None:
        own.config.layer_types = [model.config.layer_types[number] for number in slots]
    return logits(own)


@FAMILIES
@pytest.mark.parametrize("composition", [DROPPED, SHARED], ids=["drop", "share"])
def test_an_emulator_runs_its_slots(make: Any, composition: Composition) -> None:
    model = make()
    emulator = Emulator(model, composition)
    assert torch.equal(logits(emulator.model), layer_by_layer(model, composition.slots))
    assert not torch.allclose(logits(emulator.model), logits(model), atol=1e-2)


@FAMILIES
def test_with_all_layers_it_is_the_full_model(make: Any) -> None:
    model = make()
    emulator = Emulator(model, dropping(6, trained=(0, 5), kept=middle_layers(6, (0, 5))))
    assert torch.equal(logits(emulator.model), logits(model))
    assert type(emulator.model) is type(model)


@FAMILIES
@pytest.mark.parametrize("composition", [DROPPED, SHARED], ids=["drop", "share"])
def test_text_is_the_same_with_and_without_the_cache(make: Any, composition: Composition) -> None:
    model = make()
    emulator = Emulator(model, composition)
    own = getattr(emulator.model, "generate")  # noqa: B009 - the models are Any
    texts = [
        own(IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=12, do_sample=False, use_cache=cached)
        for cached in (True, False)
    ]
    assert torch.equal(*texts)
    assert texts[0].shape == (2, 24)
    full = model.generate(IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=12, do_sample=False)
    assert not torch.equal(full, texts[0])
    with torch.no_grad():
        cache = emulator.model(IDS, use_cache=True).past_key_values
    assert len(cache) == len(composition.slots)
    places = [module.layer_idx for module in emulator.model.modules() if hasattr(module, "layer_idx")]
    assert sorted(set(places)) == list(range(len(composition.slots)))


@FAMILIES
def test_frozen_weights_are_shared_and_trained_ones_copied(make: Any) -> None:
    model = make()
    emulator = Emulator(model, SHARED)
    full, own = decoder_layers(model), decoder_layers(emulator.model)
    for place, number in enumerate(SHARED.slots):
        for one, other in zip(own[place].parameters(), full[number].parameters(), strict=True):
            assert (one.data_ptr() == other.data_ptr()) is (number in SHARED.kept)
            assert one.requires_grad is (number in SHARED.trained)
            assert torch.equal(one, other)
    embedding, head = emulator.model.get_input_embeddings().weight, emulator.model.get_output_embeddings().weight
    assert embedding.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    assert (embedding is head) is (model.get_input_embeddings().weight is model.get_output_embeddings().weight)
    count = sum(parameter.numel() for parameter in emulator.trained_parameters())
    assert count == sum(parameter.numel() for number in (0, 5) for parameter in full[number].parameters())


def test_the_full_model_is_as_it_was_after_training() -> None:
    model = llama()
    model.lm_head.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [(name, id(value), value.requires_grad) for name, value in model.named_parameters()]
    modules = [(name, id(module), module.training) for name, module in model.named_modules()]
    config, output = model.config.to_dict(), logits(model)
    emulator = Emulator(model, DROPPED)
    start = logits(emulator.model)
    tune(emulator, batches(LANGUAGE, count=4), LoopOptions(steps=4, learning_rate=1e-2))
    emulator.model.generate(IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=2, do_sample=False)
    assert not torch.equal(logits(emulator.model), start)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [(name, id(value), value.requires_grad) for name, value in model.named_parameters()] == flags
    assert [(name, id(module), module.training) for name, module in model.named_modules()] == modules
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [layer.self_attn.layer_idx for layer in model.model.layers] == list(range(6))
    assert model.config.to_dict() == config
    assert torch.equal(logits(model), output)


def test_hidden_states_are_the_emulators_own_whichever_model_was_asked_first() -> None:
    for first in (True, False):
        model = llama()
        if first:
            model(IDS, output_hidden_states=True)
        emulator = Emulator(model, SHARED)
        assert len(emulator.model(IDS, output_hidden_states=True).hidden_states) == 7
        small = Emulator(model, DROPPED)
        assert len(small.model(IDS, output_hidden_states=True).hidden_states) == 5
        assert len(model(IDS, output_hidden_states=True).hidden_states) == 7


def test_training_follows_its_batches() -> None:
    emulator, told = Emulator(llama(), DROPPED), []
    options = LoopOptions(steps=30, learning_rate=5e-3, warm_up_steps=3)
    tune(emulator, batches(LANGUAGE, count=30), options, progress=told.append)
    assert [step.step for step in told] == list(range(30))
    assert told[-1].loss < told[0].loss - 0.5
    assert not any(module.training for module in emulator.model.modules())
    with pytest.raises(AdapterError, match="the batches ended after 2 of 30 steps"):
        tune(emulator, batches(LANGUAGE, count=2), options)


def test_models_that_cannot_be_emulated_are_refused() -> None:
    model = llama()
    with pytest.raises(OptionError, match="the composition is of 4 layers and the model has 6"):
        Emulator(model, dropping(4, trained=(0, 3), kept=(1,)))
    with pytest.raises(AdapterError, match="Linear has no config.num_hidden_layers"):
        Emulator(nn.Linear(2, 2), DROPPED)
    model.config.num_hidden_layers = 5
    with pytest.raises(AdapterError, match="must have one list of its 5 layers, found none"):
        Emulator(model, DROPPED)
    model = llama()
    model.model.layers[2].self_attn.layer_idx = None
    with pytest.raises(AdapterError, match="layer 2 has no part with its layer_idx"):
        Emulator(model, DROPPED)
    model = llama()
    model.model.layers[0].mlp.up_proj.weight = nn.Parameter(torch.zeros(128, 64, dtype=torch.int8), requires_grad=False)
    with pytest.raises(AdapterError, match="a trained layer is quantised"):
        Emulator(model, DROPPED)
    model = llama()
    model._hf_hook = object()
    with pytest.raises(AdapterError, match="spread over devices by accelerate; load it without device_map"):
        Emulator(model, DROPPED)
