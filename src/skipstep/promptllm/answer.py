"""What a model wrote, down to the phrases that belong into a prompt."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence

from ..errors import PromptEngineError
from .special_tokens import first_turn, without_special_tokens

MAX_CHARACTERS = 8192  # many times what CLIP reads
SCHEMA = {
    "type": "object",
    "properties": {
        "prompt": {"type": "string", "minLength": 1, "maxLength": 240},
        "negative_prompt": {"type": "string", "maxLength": 200},
    },
    "required": ["prompt", "negative_prompt"],
    "additionalProperties": False,
}

_THOUGHT = re.compile(r"<(think|thinking|thought|reasoning)>.*?(?:</\1>|\Z)", re.IGNORECASE | re.DOTALL)
_THOUGHT_END = re.compile(r"\A.*</(?:think|thinking|thought|reasoning)>", re.IGNORECASE | re.DOTALL)
_ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.IGNORECASE | re.DOTALL)
_FENCE = re.compile(r"```[\w-]*\n?(.*?)(?:```|\Z)", re.DOTALL)
_BULLET = re.compile(r"^\s*(?:[-*\u2022\u2013]|\d{1,2}[.)]|#{1,6}|>)\s+")
_EMPHASIS = re.compile(r"\*\*|__|`|(?<!\w)[*_](?=\w)|(?<=\w)[*_](?!\w)")
_PREAMBLE = re.compile(
    r"\A\s*(?:"
    r"(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|no problem)\s*[!,.:;]"
    r"|(?:here(?:['\u2019]s| is| are)|this is|below is)\b[^:\n]{0,120}:"
    r"|(?:(?:final|enhanced|expanded|detailed|improved|rewritten|revised|refined|image|positive|added|your|the|new)\s+){0,4}"
    r"(?:prompt|output|answer|result|description|details|assistant|response)\s*:"
    r")\s*",
    re.IGNORECASE,
)
_AFTERWORD = re.compile(
    r"^\W*(?:note|explanation|negative(?: prompt)?)\s*:"
    r"|^\W*(?:let me know|i hope|feel free|this prompt|i'm |i am |i can|would you)",
    re.IGNORECASE,
)
_QUOTES = {'"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019", "\u00ab": "\u00bb", "\u201e": "\u201c"}
_AROUND = ' \t.,;:!?-\u2013\u2014"\u201c\u201d\u00ab\u00bb'  # a phrase
_CLAUSE_END = re.compile(r"[,;](?!\d)|[.!?](?=\s|$)|\n")
_LITTLE_WORDS = {"and", "the", "with", "for", "from", "that", "this", "its", "are", "not", "has", "his", "her"}
_LOOP = re.compile(r"\b(\w+(?:\s+\w+){0,4}?)(?:\s+\1\b){2,}", re.IGNORECASE)


def phrases(answer: str, *, prompt: str, special: Iterable[str] = ()) -> list[str]:
    """The phrases of an answer that are not in `prompt` yet, each once.

    Left out are thoughts, preambles, quotes, markdown, afterwords, control tokens, and the prompt where the answer
    repeats it.
    """
    text = plain_text(answer, special=special)
    text = _without_prompt(text, prompt)
    known = {"", *(_key(clause) for clause in [prompt, *_CLAUSE_END.split(prompt)])}
    found = []
    for clause in _CLAUSE_END.split(text):
        clause = _LOOP.sub(r"\1", clause).strip(_AROUND)
        if _key(clause) not in known:
            known.add(_key(clause))
            found.append(clause)
    return found


def plain_text(answer: str, *, special: Iterable[str] = ()) -> str:
    """An answer on one line, without what a model puts around it."""
    text = _written(answer[:MAX_CHARACTERS])
    text = _THOUGHT_END.sub("", _THOUGHT.sub(" ", text))
    wrapped = _ANSWER.search(text)
    text = wrapped.group(1) if wrapped else text
    text = without_special_tokens(first_turn(text, special), special)
    fenced = _FENCE.search(text)
    text = fenced.group(1) if fenced and fenced.group(1).strip() else text
    return _unquoted(_paragraph(_without_preamble(text)))


def negative_phrases(answer: str, *, prompt: str, special: Iterable[str] = ()) -> list[str]:
    """The phrases of a negative prompt that name nothing of what the prompt asks for."""
    found = phrases(answer, prompt="", special=special)
    return [phrase for phrase in found if not _words(phrase) & _words(prompt)]


def schema_answer(answer: str) -> tuple[str, str]:
    """The prompt and the negative prompt of an answer in JSON.

    Raises:
        PromptEngineError: if it is not what `SCHEMA` says.
    """
    try:
        data = json.loads(_THOUGHT_END.sub("", _THOUGHT.sub("", answer)))
    except (ValueError, RecursionError) as error:
        raise PromptEngineError("the model answered no JSON where a schema was asked for") from error
    fields = [data.get(key) if isinstance(data, dict) else None for key in ("prompt", "negative_prompt")]
    if not all(isinstance(value, str) for value in fields):
        raise PromptEngineError("the model answered JSON without the texts prompt and negative_prompt")
    return str(fields[0]), str(fields[1])


def without_cut_phrase(answer: str) -> str:
    """An answer that was stopped, without the phrase that has no end; as it is, if it has only one."""
    ends = [match.start() for match in _CLAUSE_END.finditer(answer)]
    return answer[: ends[-1]] if ends else answer


def joined(prompt: str, added: Sequence[str]) -> str:
    """`prompt` as it is, and the phrases after it."""
    if not prompt or not added:
        return prompt + ", ".join(added)
    ends = prompt.rstrip()[-1:] in ",.;:!?"
    space = "" if prompt[-1].isspace() else " "
    return f"{prompt}{space if ends else ', '}{', '.join(added)}"


def _written(text: str) -> str:
    """Without halves of characters, control and unassigned ones."""
    kept = (char for char in text if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs", "Cn", "Co"))
    return "".join(kept)


def _without_preamble(text: str) -> str:
    while True:
        text = _EMPHASIS.sub("", text).strip()
        shorter = _PREAMBLE.sub("", text, count=1)
        if shorter == text:
            return text
        text = shorter


def _paragraph(text: str) -> str:
    """The first paragraph, its lines as phrases; what follows it is about it."""
    lines: list[str] = []
    for line in text.splitlines():
        line = _BULLET.sub("", line).strip()
        if lines and (not line or _AFTERWORD.search(line)):
            break
        if line and not _AFTERWORD.search(line):
            lines.append(line)
    return ", ".join(line.rstrip(",;") for line in lines)


def _unquoted(text: str) -> str:
    text = text.strip()
    while len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        text = text[1:-1].strip()
    return text


def _without_prompt(text: str, prompt: str) -> str:
    """`text` without the prompt at its beginning, whatever its letters' case and spaces."""
    words = prompt.split()
    if not words:
        return text
    spaced = r"\s+".join(re.escape(word) for word in words)
    for pattern in (spaced, re.escape(prompt.strip().rstrip(".,;:!?"))):
        text = re.sub(rf"\A[\W_]*{pattern}(?!\w)", "", text, flags=re.IGNORECASE)
    return text


def _words(text: str) -> set[str]:
    return {word for word in _key(text).split() if len(word) > 2} - _LITTLE_WORDS


def _key(clause: str) -> str:
    return " ".join(re.findall(r"\w+", clause.casefold()))
