"""Rates, losses and modes of training steps."""

from __future__ import annotations

import pytest
import torch
from tiny_llm import WORDS, language, sentences, tiny_llama

from skipstep.adapters.loop import LoopOptions, accumulate_gradients, batch_loss, mean_loss, mode
from skipstep.errors import AdapterError, OptionError


def test_the_rate_rises_to_its_value_and_falls_to_its_share() -> None:
    options = LoopOptions(steps=14, learning_rate=2.0, warm_up_steps=4, final_share=0.5)
    rates = [options.rate(step) for step in range(14)]
    assert rates[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert rates[5] == pytest.approx(1.9)
    assert rates[13] == pytest.approx(1.1)
    assert options.rate(14) == pytest.approx(1.0)  # where a further step would be


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps must be 1 or more, got 0"),
        ({"warm_up_steps": 9}, "warm_up_steps must be 0..8"),
        ({"final_share": 1.5}, "final_share must be 0..1, got 1.5"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0, got nan"),
        ({"clip_norm": 0.0}, "clip_norm must be above 0, got 0.0"),
    ],
)
def test_options_that_cannot_be_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        LoopOptions(**{"steps": 8, "learning_rate": 0.1, **wrong})  # type: ignore[arg-type]


def test_masked_words_do_not_count() -> None:
    model, ids = tiny_llama(), sentences(language(0), count=2, length=8)
    mask = torch.ones_like(ids)
    mask[:, 5:] = 0
    other = ids.clone()
    other[:, 5:] = (ids[:, 5:] + 1) % WORDS
    loss = batch_loss(model, {"input_ids": ids, "attention_mask": mask})
    assert torch.equal(loss, batch_loss(model, {"input_ids": other, "attention_mask": mask}))
    assert not torch.equal(batch_loss(model, {"input_ids": ids}), batch_loss(model, {"input_ids": other}))


def test_dropout_follows_the_step_and_not_the_callers_generator() -> None:
    model, batch = tiny_llama(), {"input_ids": sentences(language(0), count=2)}
    model.config.attention_dropout = 0.5
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    options, parameters = LoopOptions(steps=3, learning_rate=0.1), list(model.parameters())

    def loss(step: int) -> float:
        return accumulate_gradients(model, batch, parameters, options=options, step=step)

    with mode(model, training=True):
        torch.manual_seed(1)
        first, drawn = loss(0), torch.rand(1)
        torch.manual_seed(1)
        assert torch.equal(drawn, torch.rand(1))
        assert loss(0) == first
        assert loss(1) != first


def test_gradients_are_clipped_together() -> None:
    model, batch = tiny_llama(), {"input_ids": sentences(language(0), count=2)}
    parameters = list(model.parameters())
    accumulate_gradients(
        model, batch, parameters, options=LoopOptions(steps=1, learning_rate=0.1, clip_norm=0.01), step=0
    )
    total = torch.stack([parameter.grad.norm() for parameter in parameters]).norm()
    assert float(total) == pytest.approx(0.01, rel=1e-3)


def test_a_loss_that_is_no_number_stops_the_run() -> None:
    model = tiny_llama()
    with torch.no_grad():
        model.lm_head.weight[0, 0] = float("nan")
    with pytest.raises(AdapterError, match="the loss is nan at step 7; use a learning rate below 0.1"):
        accumulate_gradients(
            model,
            {"input_ids": sentences(language(0), count=1)},
            list(model.parameters()),
            options=LoopOptions(steps=9, learning_rate=0.1),
            step=7,
        )


def test_measuring_leaves_every_modules_mode() -> None:
    model = tiny_llama()
    model.model.layers[1].train()
    found = [module.training for module in model.modules()]
    assert any(found)
    assert not all(found)
    assert mean_loss(model, [{"input_ids": sentences(language(0), count=2)}]) > 1
    assert [module.training for module in model.modules()] == found
    with pytest.raises(OptionError, match="at least one batch"):
        mean_loss(model, [])
