"""Presets: those that ship, and those of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from skipstep.errors import OptionError
from skipstep.promptllm import ClipTokens, load_preset, shipped_presets

OWN = 'title = "Mine"\nsystem = "Add details."\n'


@pytest.mark.parametrize("name", list(shipped_presets()))
def test_shipped_presets_are_complete_and_short_enough(name: str, clip: ClipTokens) -> None:
    preset = load_preset(name)
    assert preset.name == name
    assert len(preset.words) >= 4
    assert len(preset.examples) >= 3
    assert clip.count(preset.negative) <= 77
    assert len({word for words in preset.words for word in words}) == sum(map(len, preset.words))
    for example in preset.examples:
        assert clip.count(f"{example.prompt}, {example.added}") <= 77
        assert example.prompt not in example.added


def test_there_are_the_styles_people_ask_for() -> None:
    assert {"anime", "cinematic", "illustration", "photo", "plain"} <= set(shipped_presets())
    assert load_preset("plain").negative == ""


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f'{OWN}negative = "fog"\n[sampling]\ntemperature = 0\n[words]\nlight = ["dim"]\n', encoding="utf-8")
    preset = load_preset(str(file))
    assert (preset.name, preset.title, preset.negative, preset.temperature) == ("mine", "Mine", "fog", 0)
    assert (preset.words, preset.examples, preset.max_tokens) == ((("dim",),), (), 64)
    before = preset.sha256
    file.write_text(OWN, encoding="utf-8")
    assert load_preset(str(file)).sha256 != before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('title = "x"', "system of the preset mine must be text, got ''"),
        (f"{OWN}colour = 1", "has no colour; it may have"),
        (f"{OWN}[sampling]\ntemprature = 1", "has no temprature"),
        (f"{OWN}[sampling]\ntemperature = 9", "temperature of the preset mine must be 0..2, got 9"),
        (f"{OWN}[sampling]\nmax_tokens = 1.5", "max_tokens of the preset mine must be 1..2048, got 1.5"),
        (f"{OWN}[sampling]\ntop_p = true", "got True"),
        (f"{OWN}[words]\nlight = 3", "words.light of the preset mine must be a list of texts, got 3"),
        (f"{OWN}[words]\nlight = []", "must be a list of texts"),
        (f"{OWN}words = 3", "words of mine must be a table"),
        (f"{OWN}example = 3", "each under [[example]]"),
        (f'{OWN}[[example]]\nprompt = "x"', "added of the preset mine must be text"),
        ("title = ", "is not TOML"),
        ("#" * 70_000, "more than 65536 bytes"),
    ],
)
def test_a_preset_that_cannot_be_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(OptionError) as refused:
        load_preset(str(file))
    assert message in str(refused.value)


def test_bytes_that_are_no_text_and_files_that_are_not_there(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(b"title = '\xff'")
    with pytest.raises(OptionError, match="not UTF-8"):
        load_preset(str(file))
    with pytest.raises(OptionError, match="cannot read the preset"):
        load_preset(str(tmp_path / "other.toml"))
    with pytest.raises(OptionError, match="one of anime, cinematic, .* or a .toml file, got 'oil'"):
        load_preset("oil")
