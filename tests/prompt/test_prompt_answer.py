"""What is kept of what models write."""

from __future__ import annotations

import time

import pytest

from skipstep.promptllm.answer import phrases

PROMPT = "a cat on a beach"


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ("warm light, calm mood", "warm light|calm mood"),
        ("<think>What would a cat do?</think>warm light", "warm light"),
        ("<thinking>\n\nlong\n</thinking>\nwarm light", "warm light"),
        ("a thought without its beginning </think> warm light", "warm light"),
        ("warm light <think>and then", "warm light"),
        ("<answer>warm light</answer> as you asked", "warm light"),
        (
            "Sure! Here is the expanded prompt:\n\nwarm light, calm mood\n\nLet me know if you like it.",
            "warm light|calm mood",
        ),
        ("Certainly, here's a more detailed prompt: warm light", "warm light"),
        ("Prompt: warm light", "warm light"),
        ("**Enhanced Prompt:** warm light", "warm light"),
        ("Positive prompt: warm light\nNegative prompt: dogs", "warm light"),
        ('"warm light, calm mood"', "warm light|calm mood"),
        ("\u201cwarm light\u201d", "warm light"),
        ('Here is the prompt: "warm light"', "warm light"),
        ("- warm light\n- calm mood", "warm light|calm mood"),
        ("1. warm light\n2) calm mood", "warm light|calm mood"),
        ("## Details\nwarm light", "Details|warm light"),
        ("```text\nwarm light\n```", "warm light"),
        ("**warm** _light_, `calm`", "warm light|calm"),
        ("snake_case stays", "snake_case stays"),
        ("warm light, Warm Light, warm light.", "warm light"),
        ("very very very very bright", "very bright"),
        ("red sand red sand red sand, sea", "red sand|sea"),
        ("a cat on a beach, warm light", "warm light"),
        ("A Cat  on a Beach, warm light", "warm light"),
        ("a cat on a beach at dusk, a cat on a beach", "at dusk"),
        ("a cat on a beachfront", "a cat on a beachfront"),
        ("warm light. The sea is calm. Gulls!", "warm light|The sea is calm|Gulls"),
        ("f/1.8, 1,000 gulls", "f/1.8|1,000 gulls"),
        ("warm light<|im_end|>\n<|im_start|>user\nmore", "warm light"),
        ("<s> warm light</s>", "warm light"),
        ("warm\x00 li\x1bght\ud800", "warm light"),
        ("sure-footed goats, okay signs", "sure-footed goats|okay signs"),
        ("Note: I cannot see it", ""),
        ("", ""),
        (",,, ;; ..", ""),
    ],
)
def test_what_is_kept(answer: str, kept: str) -> None:
    assert "|".join(phrases(answer, prompt=PROMPT)) == kept


def test_a_prompt_of_several_phrases_is_not_repeated() -> None:
    assert phrases("fox, snow, warm light, Snow", prompt="fox, snow") == ["warm light"]
    assert phrases("warm light, fox", prompt="fox, snow") == ["warm light"]


@pytest.mark.parametrize(
    "answer",
    ["a " * 100_000, "ab " * 50_000, "*" * 100_000, "<think>" * 20_000, '"' * 100_000, "a, " * 60_000, "```" * 30_000],
)
def test_no_answer_takes_long(answer: str) -> None:
    started = time.process_time()
    phrases(answer, prompt=PROMPT)
    assert time.process_time() - started < 0.5
