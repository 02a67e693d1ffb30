"""Block influence, linear CKA and the features that they are taken from."""

from __future__ import annotations

import pytest
import torch
from tiny_llm import WORDS, batches, language, sentences, tiny_llama

from skipstep.adapters.crash import block_influence, layer_similarity, linear_cka, pooled_features, propose
from skipstep.errors import OptionError

LANGUAGE = language(0)


def test_cka_is_the_formula_over_features() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(12, width, generator=generator).double() + 3 for width in (5, 7))
    cx, cy = x - x.mean(0), y - y.mean(0)
    expected = (cy.T @ cx).norm() ** 2 / ((cx.T @ cx).norm() * (cy.T @ cy).norm())
    assert linear_cka(x, y) == pytest.approx(float(expected), rel=1e-12)
    assert 0.05 < linear_cka(x, y) < 0.95


def test_cka_is_blind_to_rotation_and_scale_alone() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(12, 5, generator=generator).double()
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=generator).double()).Q
    assert linear_cka(x, x @ rotation * -7 + 2) == pytest.approx(1.0, abs=1e-12)
    assert linear_cka(x, x**3) < 0.99
    apart = torch.zeros(4, 2)
    apart[0], apart[1], apart[2], apart[3] = *torch.eye(2), *-torch.eye(2)
    assert linear_cka(apart[:, :1], apart[:, 1:]) == pytest.approx(0.0, abs=1e-12)


def test_features_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(OptionError, match=r"features must be \(texts, hidden\) of the same texts"):
        linear_cka(torch.zeros(3, 2), torch.zeros(4, 2))
    with pytest.raises(OptionError, match="the same for all texts; compare layers on two or more different texts"):
        linear_cka(torch.ones(3, 2), torch.randn(3, 2))


def test_influence_is_what_a_layer_changes() -> None:
    model, texts = tiny_llama(layers=4, std=0.2), list(batches(LANGUAGE, count=2))
    with torch.no_grad():
        for part in (model.model.layers[1].self_attn.o_proj, model.model.layers[1].mlp.down_proj):
            part.weight.zero_()
    found = block_influence(model, texts)
    assert found[1] == pytest.approx(0.0, abs=1e-12)
    assert all(influence > 0.01 for number, influence in enumerate(found) if number != 1)
    with torch.no_grad():
        states = model(texts[0]["input_ids"], output_hidden_states=True).hidden_states
    cosine = torch.nn.functional.cosine_similarity(states[2].double(), states[3].double(), dim=-1)[:, 4:]
    assert block_influence(model, texts[:1])[2] == pytest.approx(1 - float(cosine.mean()), rel=1e-9)


def test_features_are_the_layers_outputs_and_not_the_final_norms() -> None:
    model, ids = tiny_llama(layers=3), sentences(LANGUAGE, count=5)
    features = pooled_features(model, [{"input_ids": ids[:2]}, {"input_ids": ids[2:]}])
    with torch.no_grad():
        states = model(ids, output_hidden_states=True).hidden_states
    assert [tuple(part.shape) for part in features] == [(5, 64)] * 3
    assert torch.allclose(features[1], states[2][:, 4:].double().mean(1), atol=1e-6)
    assert not torch.allclose(features[2], states[3][:, 4:].double().mean(1), atol=1e-2)


def test_massive_first_tokens_do_not_count() -> None:
    model, ids = tiny_llama(layers=3), sentences(LANGUAGE, count=6)
    ids[:, 1:][ids[:, 1:] == 0] = 1
    ids[:, 0] = 0  # the attention sink
    with torch.no_grad():
        model.model.embed_tokens.weight[0] *= 1e4
    raw, pooled = (layer_similarity(pooled_features(model, [{"input_ids": ids}], skip=skip)) for skip in (0, 4))
    with torch.no_grad():
        norms = model(ids, output_hidden_states=True).hidden_states[1].norm(dim=-1)
    assert float(norms[:, 0].min()) > 100 * float(norms[:, 1:].max())
    assert torch.equal(pooled, pooled.T)
    assert float((raw - pooled).abs().max()) > 1e-3


def test_padding_on_either_side_does_not_count() -> None:
    model, ids = tiny_llama(layers=2), sentences(LANGUAGE, count=2, length=12)
    alone = pooled_features(model, [{"input_ids": ids}])
    for left in (0, 5):
        padded = torch.full((2, 17), WORDS - 1)
        mask = torch.zeros_like(padded)
        padded[:, left : left + 12], mask[:, left : left + 12] = ids, 1
        batch = {"input_ids": padded, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
        for one, other in zip(pooled_features(model, [batch]), alone, strict=True):
            assert torch.allclose(one, other, atol=1e-5)  # float32, another order of sums
    blind = pooled_features(model, [{"input_ids": padded}])
    assert not torch.allclose(blind[0], alone[0], atol=1e-3)


def test_looking_leaves_no_hook_and_no_mode_behind() -> None:
    model = tiny_llama()
    model.train()

    def broken() -> object:
        yield {"input_ids": sentences(LANGUAGE, count=2)}
        raise KeyError

    with pytest.raises(KeyError):
        block_influence(model, broken())  # type: ignore[arg-type]
    assert all(not module._forward_hooks and module.training for module in model.modules())


def test_texts_that_are_missing_or_too_short_are_refused() -> None:
    with pytest.raises(OptionError, match="give at least one batch"):
        block_influence(tiny_llama(), [])
    with pytest.raises(OptionError, match="every text must be longer than the 4 tokens that are skipped"):
        pooled_features(tiny_llama(), [{"input_ids": sentences(LANGUAGE, count=2, length=4)}])


def test_a_proposal_follows_its_selection() -> None:
    model, texts = tiny_llama(layers=10, std=0.2), list(batches(LANGUAGE, count=2))
    default = propose(model, texts)
    influence = block_influence(model, texts)
    assert default.trained == (0, 1, 8, 9)
    assert default.kept == tuple(sorted(sorted(range(2, 8), key=lambda layer: -influence[layer])[:4]))
    assert default.slots == (0, 1, *default.kept, 8, 9)
    uniform = propose(model, [], trained=(0, 5, 9), keep=3, selection="uniform", removed="share")
    assert uniform.kept == (1, 4, 8)
    assert uniform.slots == (0, 1, 1, 4, 4, 5, 4, 8, 8, 9)
    centres = propose(model, texts, keep=3, selection="cka")
    assert len(centres.kept) == 3
    with pytest.raises(OptionError, match="selection must be influence, uniform or cka, got 'random'"):
        propose(model, texts, selection="random")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="removed must be drop or share, got 'skip'"):
        propose(model, texts, removed="skip")  # type: ignore[arg-type]
