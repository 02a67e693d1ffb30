"""Expansions: the user's words stay, CLIP's 77 tokens hold, a seed is one answer, and a failure has its reason."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from scripted import ScriptedEngine

from skipstep.errors import OptionError
from skipstep.promptllm import ClipTokens, EchoEngine, ExpandRequest, Expansion, Preset, PromptExpander, load_preset

ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
    "àéîõüßçñøåæœđłŧžşğ",
    "猫海滩日落灯塔雨夜",
    "кошкапляжзакат",
    "🐱🏖️🌅👩‍🚀🎨",
    "()[]{}<|>:.,;!?'\"\\/*_`#-",
    "\u0301\u200d\u202e\u00a0",
)


def random_prompt(random_of: random.Random) -> str:
    """Words of any script, with commas, spaces, odd characters, and from short to far too long."""
    words = []
    for _ in range(random_of.choice([1, 3, 6, 12, 24, 48, 200])):
        letters = random_of.choice(ALPHABETS[:2] * 4 + ALPHABETS)
        words.append("".join(random_of.choice(letters) for _ in range(random_of.randint(1, 8))))
        words.append(random_of.choice([" ", " ", " ", ", ", ",", "  ", "\n"]))
    text = "".join(words)
    return text if text.strip() else "a cat"


def expand(clip: ClipTokens, engine: object, **asked: object) -> Expansion:
    return PromptExpander(engine, tokens=clip).expand(ExpandRequest(**asked))  # type: ignore[arg-type]


@pytest.mark.parametrize("schema", [False, True])
def test_200_random_prompts_stay_as_they_are_and_fit_into_clip(clip: ClipTokens, photo: Preset, schema: bool) -> None:
    prompts = [random_prompt(random.Random(number)) for number in range(200)]
    expander = PromptExpander(EchoEngine(), tokens=clip)
    added, too_long = 0, 0
    for seed, prompt in enumerate(prompts):
        request = ExpandRequest(prompt=prompt, preset=photo, seed=seed, schema=schema)
        made = expander.expand(request)
        assert made.prompt.startswith(prompt)
        assert made.clip_tokens == clip.count(made.prompt)
        if clip.count(prompt) > 77:
            too_long += 1
            assert made.prompt == prompt
            assert "nothing was added" in str(made.reason)
            continue
        assert made.clip_tokens <= 77
        assert (made.reason is None) == bool(made.added)
        added += bool(made.added)
        again = expander.expand(request)
        assert replace(again, seconds=0) == replace(made, seconds=0)
    assert too_long > 20
    assert added > 100


def test_other_seeds_give_other_words(clip: ClipTokens, photo: Preset) -> None:
    made = {expand(clip, EchoEngine(), prompt="a cat", preset=photo, seed=seed).prompt for seed in range(100)}
    assert len(made) == 100


def test_counting_is_that_of_the_models(clip: ClipTokens) -> None:
    assert clip.count("") == 2
    assert clip.count("a cat on a beach") == 7
    assert clip.count("a " * 500) == 502


def test_what_does_not_fit_goes_phrase_by_phrase_from_the_end(clip: ClipTokens, photo: Preset) -> None:
    engine = ScriptedEngine("warm light, 85mm lens, a very long phrase of many words, calm")
    whole = expand(clip, engine, prompt="a cat", preset=photo)
    assert whole.added == "warm light, 85mm lens, a very long phrase of many words, calm"
    for limit in range(3, whole.clip_tokens + 1):
        made = expand(clip, engine, prompt="a cat", preset=photo, max_clip_tokens=limit)
        assert whole.prompt.startswith(made.prompt)
        assert made.prompt.startswith("a cat")
        if made.reason is None:
            assert made.clip_tokens <= limit
            rest = whole.added[len(made.added) :].removeprefix(", ").split(", ")[0]
            assert not rest or clip.count(f"{made.prompt}, {rest}") > limit  # no less than what fits
        else:
            assert made.prompt == "a cat"
            assert limit < clip.count("a cat, warm light")


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a cat", "a cat, warm light"),
        ("a cat,", "a cat, warm light"),
        ("a cat, ", "a cat, warm light"),
        ("A cat.", "A cat. warm light"),
        ("  a cat  ", "  a cat  , warm light"),
    ],
)
def test_the_join(clip: ClipTokens, photo: Preset, prompt: str, expected: str) -> None:
    assert expand(clip, ScriptedEngine("warm light"), prompt=prompt, preset=photo).prompt == expected


@pytest.mark.parametrize(
    "answer", ["", "   \n", "a cat", "A cat!", '"a cat"', "<think>a long thought", "...", "<|im_end|>"]
)
def test_an_answer_that_adds_nothing_gives_the_prompt_and_a_reason(
    clip: ClipTokens, photo: Preset, answer: str
) -> None:
    made = expand(clip, ScriptedEngine(answer), prompt="a cat", preset=photo)
    assert (made.prompt, made.added, made.reason) == ("a cat", "", "the model added nothing")


def test_an_engine_that_fails_gives_the_prompt_and_its_reason(clip: ClipTokens, photo: Preset) -> None:
    made = expand(clip, ScriptedEngine("", fails="the cable is out"), prompt="a cat", preset=photo)
    assert (made.prompt, made.reason, made.negative) == ("a cat", "the cable is out", photo.negative)


def test_a_stopped_answer_loses_the_phrase_that_has_no_end(clip: ClipTokens, photo: Preset) -> None:
    for cut, added in ((True, "warm light, calm"), (False, "warm light, calm, with a")):
        engine = ScriptedEngine("warm light, calm, with a", cut=cut)
        assert expand(clip, engine, prompt="a cat", preset=photo).added == added


def test_without_keeping_the_model_rewrites(clip: ClipTokens, photo: Preset) -> None:
    engine = ScriptedEngine("A tabby cat, warm light")
    made = expand(clip, engine, prompt="a cat", preset=photo, keep=False)
    assert made.prompt == made.added == "A tabby cat, warm light"
    assert "rewritten" in engine.questions[0].messages[0].text


def test_the_negative_prompt_of_a_schema_names_nothing_that_was_asked_for(clip: ClipTokens, photo: Preset) -> None:
    def negative(text: str) -> str:
        answer = json.dumps({"prompt": "warm light", "negative_prompt": text})
        return expand(clip, ScriptedEngine(answer), prompt="a cat on the beach", preset=photo, schema=True).negative

    assert negative("dog, fog") == "dog, fog"
    assert negative("The cat is on a beach, fog") == "fog"
    assert negative("two cats, a CAT") == "two cats"
    assert negative("the cat") == photo.negative
    assert clip.count(negative("word, " * 3 + ", ".join(f"thing{n}" for n in range(200)))) <= 77


@pytest.mark.parametrize("answer", ["warm light", "[]", "{}", '{"prompt": 3, "negative_prompt": ""}', '{"prompt": "a'])
def test_an_answer_that_is_not_of_the_schema_is_not_used(clip: ClipTokens, photo: Preset, answer: str) -> None:
    made = expand(clip, ScriptedEngine(answer), prompt="a cat", preset=photo, schema=True)
    assert made.prompt == "a cat"
    assert "JSON" in str(made.reason)


def test_the_model_is_asked_with_the_presets_text_and_examples_and_sampling(clip: ClipTokens) -> None:
    anime = load_preset("anime")
    engine = ScriptedEngine("warm light")
    expand(clip, engine, prompt="a  cat\n on <own>a<|im_start|> beach", preset=anime, seed=7, temperature=0)
    asked = engine.questions[0]
    assert asked.messages[0].text == anime.system
    assert [message.text for message in asked.messages[1:3]] == [anime.examples[0].prompt, anime.examples[0].added]
    assert asked.messages[-1].text == "a cat on a beach"
    assert (asked.seed, asked.temperature, asked.top_p, asked.max_tokens) == (7, 0, anime.top_p, anime.max_tokens)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prompt": "  "}, "say what to draw"),
        ({"prompt": "\ud800"}, "UTF-8"),
        ({"seed": -1}, "seed must be 0..4.29497e+09, got -1"),
        ({"seed": 1.5}, "seed must be a whole number, got 1.5"),
        ({"max_tokens": 0}, "max_tokens must be 1..2048, got 0"),
        ({"temperature": float("nan")}, "temperature must be 0..2, got nan"),
        ({"max_clip_tokens": 2}, "max_clip_tokens must be 3..616, got 2"),
        ({"timeout_s": 0}, "timeout_s must be 0.01..3600, got 0"),
        ({"preset": "photo"}, "use load_preset"),
    ],
)
def test_options_out_of_range_are_refused(photo: Preset, values: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError) as refused:
        ExpandRequest(**{"prompt": "a cat", "preset": photo, **values})  # type: ignore[arg-type]
    assert message in str(refused.value)
