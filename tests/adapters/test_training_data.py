"""Lines of data: the forms that are read, and refusals that name file, line and field."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tiny_training import write_lines

from skipstep.adapters.training import Turn, read_conversations, read_preferences, records
from skipstep.errors import TrainingDataError

ASKED = {"role": "user", "content": "a fox"}
SAID = {"role": "assistant", "content": "red"}
GOOD = {"prompt": "a fox", "completion": "red"}


def test_the_forms_of_a_chat(tmp_path: Path) -> None:
    system = {"role": "system", "content": "colours"}
    data = write_lines(
        tmp_path / "d.jsonl",
        GOOD,
        {"messages": [system, ASKED, SAID, ASKED], "source": "other fields are ignored", "prompt": "a fox"},
        {"id": "1", "data": ["a fox", "red"]},
        {"prompt": [system, ASKED, SAID, ASKED], "completion": [SAID]},
        {"prompt": "a fox", "completion": [SAID, ASKED, SAID]},
    )
    found = read_conversations(data)
    assert [len(record.turns) for record in found] == [2, 3, 2, 5, 4]
    assert [record.given for record in found] == [1, 0, 0, 4, 1]
    assert {record.turns[-1] for record in found} == {Turn(role="assistant", text="red")}
    assert found[3].where == "d.jsonl line 4"


def test_the_forms_of_a_preference(tmp_path: Path) -> None:
    bad = {"role": "assistant", "content": "blue"}
    data = write_lines(
        tmp_path / "d.jsonl",
        {"prompt": "a fox", "chosen": "red", "rejected": "blue"},
        {"prompt": [ASKED], "chosen": [SAID], "rejected": [bad], "score": 3},
        {"prompt": "a fox", "chosen": [ASKED, SAID], "rejected": [ASKED, bad]},
    )
    one, *others = read_preferences(data)
    assert (one.prompt, one.chosen, one.rejected) == ((Turn(role="user", text="a fox"),), "red", "blue")
    assert all((other.prompt, other.chosen, other.rejected) == (one.prompt, "red", "blue") for other in others)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "d.jsonl line 2: must be a JSON object, got list"),
        ("{", "d.jsonl line 2: is no JSON"),
        ('{"prompt": "a", "prompt": "b"}', "prompt: is in d.jsonl line 2 twice"),
        ('{"text": "all"}', "d.jsonl line 2: must have messages, data, or prompt and completion; it has text"),
        ("{}", "it has no fields"),
        ('{"prompt": "a"}', "it has prompt"),
        ('{"prompt": "a", "completion": ""}', "d.jsonl line 2: completion must be text, got ''"),
        ('{"prompt": " ", "completion": "b"}', "d.jsonl line 2: prompt must be text, got ' '"),
        ('{"prompt": 3, "completion": "b"}', "d.jsonl line 2: prompt must be a list of 1..256 turns, got 3"),
        ('{"prompt": "a", "completion": "\\ud800"}', "completion has half a surrogate pair at 0"),
        ('{"data": ["only"]}', "d.jsonl line 2: data must have an answer"),
        ('{"data": ["a", null]}', r"d.jsonl line 2: data\[1\] must be text, got None"),
        ('{"data": []}', "data must be a list of 1..256 turns"),
        ('{"messages": {"role": "user"}}', "d.jsonl line 2: messages must be a list"),
        ('{"messages": ["hi"]}', r"messages\[0\] must be an object with role and content, got 'hi'"),
        ('{"messages": [{"role": "tool", "content": "x"}]}', r"messages\[0\]: role must be system, user or assistant"),
        ('{"messages": [{"role": "assistant", "content": "x"}]}', r"messages\[0\]: role must be system or user there"),
        ('{"messages": [{"role": "user", "content": ["x"]}]}', r"messages\[0\]: content must be text"),
        (json.dumps({"messages": [ASKED, ASKED]}), r"messages\[1\]: role must be assistant there, got user"),
        (json.dumps({"messages": [ASKED]}), "messages must have an answer of the assistant"),
        (json.dumps({"prompt": [ASKED, SAID], "completion": "x"}), "prompt must end with a turn of the user"),
        (json.dumps({"prompt": "a fox", "completion": [ASKED]}), r"completion\[0\]: role must be assistant there"),
        ('{"prompt": "a", "completion": ' + "[" * 2000, "is nested too deeply|is no JSON"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    data = write_lines(tmp_path / "d.jsonl", GOOD)
    data.write_text(data.read_text() + line + "\n")
    with pytest.raises(TrainingDataError, match=message):
        read_conversations(data)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": "a", "chosen": "b"}, "d.jsonl line 1: rejected is missing beside prompt, chosen"),
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "d.jsonl line 1: chosen and rejected are the same text"),
        ({"prompt": "a", "chosen": "b", "rejected": 1}, "d.jsonl line 1: rejected must be a list"),
        ({"prompt": "other", "chosen": [ASKED, SAID], "rejected": "b"}, "chosen must be a text, or turns that are"),
    ],
)
def test_a_bad_preference_is_named(tmp_path: Path, fields: dict[str, object], message: str) -> None:
    with pytest.raises(TrainingDataError, match=message):
        read_preferences(write_lines(tmp_path / "d.jsonl", fields))


def test_files_that_are_not_there_empty_or_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingDataError, match="no.jsonl: cannot be read"):
        read_conversations(tmp_path / "no.jsonl")
    empty = write_lines(tmp_path / "empty.jsonl")
    with pytest.raises(TrainingDataError, match="empty.jsonl: is empty"):
        read_conversations(empty)
    data = write_lines(tmp_path / "d.jsonl", GOOD, GOOD)
    size, longest = data.stat().st_size, max(map(len, data.read_bytes().splitlines(keepends=True)))
    for name, least in (("MAX_FILE", size), ("MAX_LINE", longest), ("MAX_RECORDS", 2)):
        monkeypatch.setattr(records, name, least)
        assert len(read_conversations(data)) == 2
        monkeypatch.setattr(records, name, least - 1)
        with pytest.raises(TrainingDataError, match=f"d.jsonl: has .*{least - 1}"):
            read_conversations(data)
        monkeypatch.undo()


def test_a_link_to_data_is_followed_and_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    data = write_lines(tmp_path / "d.jsonl", GOOD)
    (tmp_path / "link.jsonl").symlink_to(data)
    assert read_conversations(tmp_path / "link.jsonl")[0].where == "link.jsonl line 1"
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(TrainingDataError, match="pipe.jsonl: is no regular file"):
        read_conversations(tmp_path / "pipe.jsonl")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    data = tmp_path / "d.jsonl"
    data.write_bytes(b'{"prompt": "\xff", "completion": "b"}\n')
    with pytest.raises(TrainingDataError, match="d.jsonl line 1: is not UTF-8 at byte 12"):
        read_conversations(data)
