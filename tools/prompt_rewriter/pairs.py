"""Prompts and what is to be added to them, drawn from the lists by a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

from .places import PLACES, Place
from .styles import LIGHT, PLACE, SKY, STYLES, TIME
from .subjects import ADJECTIVES

Pair = tuple[str, str]  # a prompt, and what is added


def pairs(preset: str, subjects: Mapping[str, tuple[str, ...]], *, count: int, seed: int) -> Iterator[Pair]:
    """Different prompts; details are those of a place that the subject is at home in."""
    drawn, seen = random.Random(f"{preset} {seed}"), set[str]()
    while len(seen) < count:
        subject = drawn.choice(sorted(subjects))
        place = PLACES[drawn.choice(subjects[subject])]
        prompt = _prompt(subject, place, drawn)
        if prompt not in seen:
            seen.add(prompt)
            yield prompt, added(preset, place, prompt, drawn)


def added(preset: str, place: Place, prompt: str, drawn: random.Random) -> str:
    """A phrase of each of the style's lists; none twice, and none whose main word the prompt has."""
    lists = {PLACE: place.seen, LIGHT: place.lights, SKY: place.skies, TIME: place.times}
    said: list[str] = []
    for entry in STYLES[preset]:
        phrases = lists[entry] if isinstance(entry, str) else entry
        new = [phrase for phrase in phrases if phrase not in said and phrase.split()[-1] not in prompt]
        if new:
            said.append(drawn.choice(new))
    return ", ".join(said)


def _prompt(subject: str, place: Place, drawn: random.Random) -> str:
    article, name = subject.split(" ", 1)
    if article in ("a", "an") and drawn.random() < 0.25:
        adjective = drawn.choice(ADJECTIVES)
        subject = f"{'an' if adjective[0] in 'aeiou' else 'a'} {adjective} {name}"
    return f"{subject} {place.phrase}" if drawn.random() < 0.5 else subject
