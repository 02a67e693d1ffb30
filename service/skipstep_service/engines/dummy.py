"""An engine that draws nothing, to measure and to break the service with."""

from __future__ import annotations

import hashlib
import io
import struct
import time
import zlib
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from .protocol import Handle, Listener, Made, Output, Task

_PNG = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.pack(">IIBBBBB", 8, 8, 8, 3, 0, 0, 0)  # 8 x 8 pixels of 8 bits with a palette
_PIXELS = zlib.compress(b"".join(bytes([0, *range(8 * row, 8 * row + 8)]) for row in range(8)))
DUMMY_COMPARISON = {"psnr_db": 31.5, "ssim": 0.9421, "baseline_loop_ms": 25.0, "loop_speedup": 2.5}  # measured nowhere


class DummyEngine:
    """Rows of as many evaluations as the job has steps, each `step_s` long for the whole batch.

    What it makes follows from prompt and seed alone, so that a job that ran twice can be told from one that did not.
    """

    def __init__(self, *, step_s: float = 0.0) -> None:
        self.step_s = step_s

    def tasks(self, kind: str, request: dict[str, Any], pictures: dict[str, bytes]) -> list[Task]:
        """A row for each picture."""
        seed, count = int(request["seed"]), int(request.get("n", 1))
        key = (kind, request.get("width"), request.get("height"))
        return [
            Task(key=key, run={**request, "seed": seed + index, "index": index}, kind=kind, work=request["steps"])
            for index in range(count)
        ]

    def warm_up(self) -> None:
        """There is nothing to load."""

    def let_go(self, model: str) -> None:
        """There is nothing to give back."""

    def open(self, key: Hashable) -> DummyRows:
        """An empty batch."""
        return DummyRows(self.step_s)

    def close(self, timeout_s: float) -> None:
        """Nothing goes on in the background."""


@dataclass(slots=True)
class _Row:
    run: dict[str, Any]
    listener: Listener
    handle: Handle
    evaluation: int = 0


@dataclass
class DummyRows:
    """Every third evaluation is a full pass, at which rows join."""

    step_s: float
    _rows: list[_Row] = field(default_factory=list)
    _tick: int = 0

    @property
    def count(self) -> int:
        """Rows in it."""
        return len(self._rows)

    @property
    def is_joinable(self) -> bool:
        """At full passes."""
        return not self._rows or self._tick % 3 == 0

    def start(self, task: Task, listener: Listener) -> Handle:
        """Take in a row."""
        handle = Handle()
        self._rows.append(_Row(task.run, listener, handle))
        return handle

    def step(self) -> None:
        """One evaluation of all rows."""
        if self.step_s:
            time.sleep(self.step_s)
        kind = "F" if self._tick % 3 == 0 else "r"
        self._tick += 1
        for row in self._rows:
            row.evaluation += 1
            row.listener.on_pass(row.evaluation - 1, row.run["steps"], kind)
            if row.listener.wants_previews:
                row.listener.on_preview(row.evaluation - 1, dummy_preview(row.evaluation))
            if row.evaluation == row.run["steps"]:
                row.handle.made = _made(row.run, len(self._rows))
                row.handle.is_done = True
        self._rows = [row for row in self._rows if not row.handle.is_done]

    def cancel(self, handle: Handle) -> None:
        """Drop the row."""
        self._rows = [row for row in self._rows if row.handle is not handle]
        handle.is_done = True


def dummy_bytes(prompt: str, seed: int) -> bytes:
    """What a row of this prompt and seed gives: 512 bytes that begin with a PNG of 8 x 8 pixels in 64 colours."""
    colours = hashlib.sha256(f"{seed}:{prompt}".encode()).digest() * 6
    chunks = ((b"IHDR", _HEADER), (b"PLTE", colours), (b"IDAT", _PIXELS), (b"IEND", b""))
    return (_PNG + b"".join(_chunk(*chunk) for chunk in chunks)).ljust(512, b"\0")


def _chunk(kind: bytes, data: bytes) -> bytes:
    """Of a PNG, as its specification has it (W3C, section 5.3)."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def dummy_preview(evaluation: int) -> bytes:
    """A small JPEG, of another grey after each evaluation."""
    buffer = io.BytesIO()
    Image.new("L", (16, 16), evaluation % 256).save(buffer, "JPEG")
    return buffer.getvalue()


def _made(run: dict[str, Any], batch: int) -> Made:
    form = run.get("format", "png")
    data = dummy_bytes(run.get("prompt", ""), run["seed"])
    media_type = f"{'video' if form in ('mp4', 'webm') else 'image'}/{form}"
    outputs = [Output(name=f"{run['index']}.{form}", media_type=media_type, encode=lambda: data)]
    report: dict[str, Any] = {"seed": run["seed"], "evaluations": run["steps"], "batch": batch}
    if run.get("compare", False):
        plain = dummy_bytes(f"baseline of {run.get('prompt', '')}", run["seed"])
        outputs.append(Output(name=f"{run['index']}-baseline.{form}", media_type=media_type, encode=lambda: plain))
        report |= {"loop_ms": 10.0, "comparison": DUMMY_COMPARISON}
    return Made(outputs=tuple(outputs), report=report)
