"""Control tokens of language models, taken out of text that is data."""

from __future__ import annotations

import re
from collections.abc import Iterable

# of ChatML, Llama 2 to 4, Gemma, Mistral, DeepSeek, and the roles of `chat.py`
_KNOWN = re.compile(
    r"<\|[^<>|\r\n]{1,64}\|>|<\uff5c[^<>\uff5c\r\n]{1,64}\uff5c>|</?s>|<(?:unk|pad|bos|eos|mask)>|\[/?INST\]|<</?SYS>>"
    r"|<(?:start|end)_of_turn>|\[/?(?:SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS)\]",
    re.IGNORECASE,
)


def without_special_tokens(text: str, special: Iterable[str] = ()) -> str:
    """`text` without the usual control tokens and those in `special`, until none is left.

    One that appears when another is taken out of its middle goes too.
    """
    own = _pattern(special)
    while True:
        found = own.sub("", _KNOWN.sub("", text))
        if found == text:
            return text
        text = found


def first_turn(text: str, special: Iterable[str] = ()) -> str:
    """What stands between the first control tokens: what follows the end of a turn is another's."""
    own = _pattern(special)
    turns = (turn for part in _KNOWN.split(text) for turn in own.split(part))
    return next((turn for turn in turns if turn.strip()), "")


def _pattern(special: Iterable[str]) -> re.Pattern[str]:
    """Matches the listed texts, the longest first; nothing, if there are none."""
    listed = sorted({token for token in special if token.strip()}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, listed)) or r"(?!)")
