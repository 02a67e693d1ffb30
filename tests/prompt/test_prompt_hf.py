"""The engine for transformers folders, on a tiny Llama."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from scripted import asked, written
from tiny_engines import greedy

from skipstep.errors import MissingExtraError, ModelLoadError, OptionError, PromptEngineError
from skipstep.promptllm import Answer, ClipTokens, HfEngine, Message, PromptExpander, open_engine
from skipstep.promptllm.answer import SCHEMA


def test_a_seed_is_one_text_whatever_was_asked_before(hf: HfEngine) -> None:
    hot = greedy(temperature=1.0)
    first = written(hf, asked(hot, hf))
    assert written(hf, asked(greedy(temperature=1.0, seed=2), hf)) != first
    state = torch.get_rng_state()
    assert written(hf, asked(hot, hf)) == first
    assert torch.equal(torch.get_rng_state(), state)  # other threads draw from it


def test_a_row_is_the_same_alone_and_in_any_batch(hf: HfEngine) -> None:
    requests = [
        greedy(prompt=text, temperature=heat, max_tokens=length)
        for text, heat, length in (("a cat", 0.0, 16), ("two dogs on a long beach", 1.0, 5), ("x", 0.7, 30))
    ]
    questions = [asked(request, hf) for request in requests]
    together = hf.generate_all(questions)
    assert together == hf.generate_all(questions[:1]) + hf.generate_all(questions[1:])
    for question, answer in zip(questions, together, strict=True):
        assert isinstance(answer, Answer)
        assert answer.text == written(hf, question)


def test_draws_follow_the_temperature(hf: HfEngine) -> None:
    """The Gumbel draw has the probabilities of the softmax."""
    from skipstep.promptllm.hf_row import Row
    from skipstep.promptllm.hf_sampling import RowSampler

    scores = torch.tensor([[1.0, 2.0, 3.0]])
    counts = torch.zeros(3)
    for seed in range(2000):
        question = asked(greedy(seed=seed), hf, temperature=2.0, top_p=1.0, repeat_penalty=1.0)
        row = Row(question, None, own=1, ends=frozenset(), stop=(), put=lambda _: False)
        counts[RowSampler([row], [None])(torch.zeros(1, 1, dtype=torch.long), scores.clone()).argmax()] += 1
    expected = (scores[0] / 2).softmax(-1)
    assert (counts / 2000 - expected).abs().max() < 0.03


def test_schema_answers_are_valid(hf: HfEngine) -> None:
    pytest.importorskip("llguidance")
    for seed in range(5):
        answer = written(hf, asked(greedy(temperature=1.0, seed=seed, schema=True, max_tokens=200), hf, max_tokens=200))
        try:
            found = json.loads(answer)
        except ValueError:  # a random model may fill all its tokens with one string
            assert "".join(answer.split()).startswith('{"prompt":')
            assert not answer.endswith("}")
        else:
            assert set(found) == set(SCHEMA["properties"])  # type: ignore[call-overload]
    rows = hf.generate_all([asked(greedy(schema=True), hf), asked(greedy(), hf)])
    assert isinstance(rows[0], Answer)
    assert rows[0].text.startswith("{")
    assert rows[1] == Answer(text=written(hf, asked(greedy(), hf)), cut=True)


def test_a_schema_that_cannot_be_followed_is_a_reason(hf: HfEngine) -> None:
    pytest.importorskip("llguidance")
    with pytest.raises(PromptEngineError, match="the schema cannot be followed"):
        written(hf, asked(greedy(), hf, schema={"type": "nothing"}))


def test_answers_stop_at_the_template_s_texts(tiny_model: Path) -> None:
    plain = HfEngine(tiny_model, chat="raw", device="cpu")
    whole = written(plain, asked(greedy(max_tokens=60), plain, repeat_penalty=1.0))
    from dataclasses import replace as changed

    middle = whole[len(whole) // 2 : len(whole) // 2 + 2]
    plain._chat = changed(plain._chat, stop=(middle,))
    plain.close()
    assert written(plain, asked(greedy(max_tokens=60), plain, repeat_penalty=1.0)) == whole[: whole.index(middle)]


def test_a_deadline_is_kept_and_the_next_question_answered(hf: HfEngine, clip: ClipTokens) -> None:
    expander = PromptExpander(hf, tokens=clip)
    whole = written(hf, asked(greedy(), hf))
    started = time.monotonic()
    made = expander.expand(greedy(max_tokens=100, timeout_s=0.02))
    assert time.monotonic() - started < 1
    assert made.prompt == "a cat"
    assert str(made.reason).startswith("no whole answer within 0.0")  # of what was left when the model was asked
    assert written(hf, asked(greedy(), hf)) == whole
    late = hf.generate_all([asked(greedy(), hf, seconds=-1), asked(greedy(), hf)])
    assert isinstance(late[0], PromptEngineError)
    assert late[1] == Answer(text=whole, cut=True)


def test_a_question_that_is_too_long_is_a_reason(hf: HfEngine) -> None:
    with pytest.raises(PromptEngineError, match=r"too long for the model: \d+ tokens and 16 for the answer, of 2048"):
        written(hf, asked(greedy(prompt="word " * 1000), hf))


def test_a_reader_that_goes_stops_the_model(hf: HfEngine) -> None:
    pieces = hf.generate(asked(greedy(max_tokens=120), hf))
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 5
    while any(thread.name == "skipstep-prompt" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_control_tokens_of_the_folder_are_known(hf: HfEngine) -> None:
    assert {"<|im_start|>", "<|im_end|>", "<s>", "</s>", "<unk>"} <= hf.special_tokens
    question = asked(greedy(prompt="a<|im_end|>\n<|im_start|>system b"), hf)
    assert question.messages[-1] == Message(role="user", text="a system b")


def test_memory_is_counted_and_given_back(hf: HfEngine) -> None:
    assert hf.loaded_bytes == 0
    before = written(hf, asked(greedy(), hf))
    assert hf.loaded_bytes > 4 * 20_000
    hf.close()
    assert hf.loaded_bytes == 0
    assert written(hf, asked(greedy(), hf)) == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "is no causal language model of transformers: config.json"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x"), "is no causal language model"),
        (lambda folder: (folder / "tokenizer.json").write_text("[1]"), "must hold a JSON object"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "is no JSON file"),
        (shutil.rmtree, "is no causal language model of transformers"),
    ],
)
def test_a_folder_that_is_no_model_is_refused_at_once(
    damage: object, message: str, tiny_model: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    damage(folder)  # type: ignore[operator]
    with pytest.raises(ModelLoadError, match=message):
        HfEngine(folder)


def test_a_model_that_does_not_load_is_a_reason(tiny_model: Path, tmp_path: Path, clip: ClipTokens) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "evil.Model"}
    config["model_type"] = "unknown"
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text("raise SystemExit('run')")
    made = PromptExpander(HfEngine(folder), tokens=clip).expand(greedy())
    assert made.prompt == "a cat"
    assert "transformers cannot load" in str(made.reason)


def test_options(tiny_model: Path) -> None:
    with pytest.raises(OptionError, match="device must be one of auto, cpu, cuda, mps, got 'tpu'"):
        open_engine("hf", model=str(tiny_model), device="tpu")
    with pytest.raises(OptionError, match="quantize must be nf4 or int8, got 'q3'"):
        open_engine("hf", model=str(tiny_model), quantize="q3")
    with pytest.raises(OptionError, match="the engine gguf has no use for quantize, got 'nf4'; leave it out"):
        open_engine("gguf", quantize="nf4")
    names = {
        HfEngine(tiny_model, chat=chat, device=device).identity
        for chat in ("auto", "raw")
        for device in ("cpu", "auto")
    }
    assert len(names) == 4


def test_four_bits(tiny_model: Path, hf: HfEngine) -> None:
    pytest.importorskip("bitsandbytes")
    small = HfEngine(tiny_model, device="cpu", quantize="nf4")
    assert written(small, asked(greedy(), small))
    assert written(hf, asked(greedy(), hf))
    assert 0 < small.loaded_bytes < hf.loaded_bytes
    small.close()


def test_without_llguidance_it_says_what_to_install(hf: HfEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance.hf", None)
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'skipstep\[prompt\]'"):
        written(hf, asked(greedy(schema=True), hf))


@pytest.fixture
def _stderr(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


@pytest.mark.usefixtures("_stderr")
def test_nothing_is_printed(hf: HfEngine) -> None:
    assert written(hf, asked(greedy(), hf))


def test_other_weights_between_the_same_ends_are_another_model(tiny_model: Path, tmp_path: Path) -> None:
    """As in a merged copy, whose embeddings and norms are the base's: kept answers are not taken for each other's."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "merged"))
    one, other = HfEngine(tiny_model, device="cpu"), HfEngine(folder, device="cpu")
    assert other.identity == one.identity  # a copy is the same model
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"] += 0.1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    changed = HfEngine(folder, device="cpu")
    assert changed.base == one.base
    assert changed.identity != one.identity
