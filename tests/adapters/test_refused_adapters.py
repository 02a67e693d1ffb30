"""Broken and malicious adapters are refused at once, with the reason, and nothing else happens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from adapter_drafts import BASE, KEYS, LAYERS, RANK, lora_draft
from broken_adapters import BROKEN, MARKER, Broken, made

import skipstep
from skipstep.adapters import inspect_adapter
from skipstep.adapters.opening import read_small
from skipstep.errors import AdapterError

LIMIT_S = 0.05


@pytest.fixture(autouse=True)
def _nothing_was_executed(tmp_path: Path) -> Iterator[None]:
    yield
    assert not (tmp_path / MARKER).exists()


def refusal(path: Path, root: Path) -> tuple[str, float]:
    """The reason, and the shortest of three times: others use the machine too."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        with pytest.raises(AdapterError) as refused:
            inspect_adapter(path, root=root, base=BASE)
        times.append(time.perf_counter() - started)
    return str(refused.value), min(times)


def test_the_draft_that_is_broken_below_is_sound(tmp_path: Path) -> None:
    info = inspect_adapter(lora_draft().write(tmp_path / "sound"), root=tmp_path, base=BASE)
    assert (info.family, len(info.modules), info.ranks) == ("LoRA", 2 * LAYERS, (RANK,))
    assert {module.scale for module in info.modules} == {2.0}
    assert {module.outputs for module in info.modules} == {32, KEYS}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name[:40])
def test_it_is_refused_at_once_and_says_why(broken: Broken, tmp_path: Path) -> None:
    folder = broken.make(tmp_path)
    before = sorted((path, path.lstat().st_mtime_ns) for path in tmp_path.rglob("*"))
    reason, seconds = refusal(folder, tmp_path)
    assert reason.startswith(broken.begins)
    assert len(reason) < 700
    assert seconds < LIMIT_S
    assert sorted((path, path.lstat().st_mtime_ns) for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("broken", [one for one in BROKEN if one.name in ("both-halves-gone", "a-kind-gone")])
def test_missing_modules_are_seen_without_a_base_too(broken: Broken, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="^target_modules: "):
        inspect_adapter(broken.make(tmp_path))


def test_a_layer_missing_between_others_is_seen_without_a_base(tmp_path: Path) -> None:
    draft = lora_draft()
    draft.tensors = {name: tensor for name, tensor in draft.tensors.items() if ".1." not in name}
    with pytest.raises(AdapterError, match="^target_modules: tensors of model.layers.1.self_attn.q_proj"):
        inspect_adapter(draft.write(tmp_path / "x"))


def test_a_file_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("{}")
    (tmp_path / "config").symlink_to(tmp_path / "secret")
    with pytest.raises(AdapterError, match="^config: is a link"):
        read_small(tmp_path / "config", limit=100)
    assert read_small(tmp_path / "secret", limit=100) == b"{}"


def test_nothing_is_opened_elsewhere_written_unpickled_or_executed(tmp_path: Path) -> None:
    root = tmp_path / "adapters"
    names = [broken.name for broken, _ in made(root)]
    lora_draft().write(root / "sound")
    base = json.dumps(asdict(BASE))
    program = Path(__file__).with_name("audited_inspection.py")
    sources = str(Path(skipstep.__file__).parent)
    command = [sys.executable, str(program), sources, str(root), base]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(run.stdout)
    assert report["seen"] == []
    assert report["loaded"] == []
    assert {name for name, reason in report["reasons"].items() if not reason} == {"sound"}
    assert set(report["reasons"]) == {*names, "sound"}
    assert not list(tmp_path.rglob(MARKER))


def test_the_audit_sees_an_open_elsewhere(tmp_path: Path) -> None:
    root = tmp_path / "adapters"
    folder = lora_draft().write(tmp_path / "elsewhere")
    root.mkdir()
    (root / "through").mkdir()
    os.rename(folder, root / "through" / "x")
    program = Path(__file__).with_name("audited_inspection.py")
    sources = str(Path(skipstep.__file__).parent)
    # the folder itself is given as if it were in another root, so that every open is outside
    script = program.read_text().replace("root + os.sep", "'/nowhere' + os.sep")
    command = [sys.executable, "-c", script, sources, str(root / "through"), json.dumps(asdict(BASE))]
    report = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert len(report["seen"]) == 3  # the config, the header, the values


def test_outside_the_root(tmp_path: Path) -> None:
    folder = lora_draft().write(tmp_path / "other" / "sound")
    (tmp_path / "root").mkdir()
    for path in (folder, tmp_path / "root" / ".." / "other" / "sound", Path("/dev/zero")):
        with pytest.raises(AdapterError, match="^path: .* is outside"):
            inspect_adapter(path, root=tmp_path / "root")


def test_a_name_that_begins_like_the_root_is_outside(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    with pytest.raises(AdapterError, match="is outside"):
        inspect_adapter(lora_draft().write(tmp_path / "root-2" / "sound"), root=tmp_path / "root")


def test_through_a_link(tmp_path: Path) -> None:
    folder = lora_draft().write(tmp_path / "other" / "sound")
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").symlink_to(folder)
    (root / "b").symlink_to(tmp_path / "other")
    with pytest.raises(AdapterError, match="^a: is a link"):
        inspect_adapter(root / "a", root=root)
    with pytest.raises(AdapterError, match="is outside"):
        inspect_adapter(root / "b" / "sound", root=root)


def test_a_hub_name_is_not_downloaded() -> None:
    with pytest.raises(AdapterError, match="there is no adapter at someone/lora"):
        inspect_adapter("someone/lora")


def test_a_null_character() -> None:
    with pytest.raises(AdapterError, match="^path: has a null"):
        inspect_adapter("a\0b")


def test_a_device_and_a_pipe_as_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.safetensors")
    with pytest.raises(AdapterError, match="^x.safetensors: is no regular file"):
        inspect_adapter(tmp_path / "x.safetensors")
    with pytest.raises(AdapterError, match="^zero: is neither"):
        inspect_adapter("/dev/zero")
