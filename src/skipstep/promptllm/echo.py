"""An engine without a model: words of the preset, picked by the seed."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator

from .engine import Engine, Piece, Question


class EchoEngine(Engine):
    """Repeats the last message and adds a word of each list; for tests, and where no model can run."""

    name = "echo"
    model = "echo"
    identity = "echo 1"

    def generate(self, question: Question) -> Iterator[Piece]:
        """The answer, word by word; the same for the same message, lists and seed."""
        text = question.messages[-1].text
        digest = hashlib.sha256(json.dumps([question.seed, text, question.words]).encode()).digest()
        picks = random.Random(int.from_bytes(digest, "big"))
        lists = [words for words in question.words if words]
        added = [picks.choice(words) for words in picks.sample(lists, len(lists))]
        answer = ", ".join([text, *added])
        if question.schema is not None:
            answer = json.dumps({"prompt": answer, "negative_prompt": ""})
        for word in answer.split(" "):
            yield Piece(text=f"{word} ")
