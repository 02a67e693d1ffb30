"""What a ComfyUI server says over its websocket."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

PREVIEW_IMAGE = 1  # of the kinds of binary messages
PREVIEW_HEADER = 8  # bytes: the kind, then the picture's format


@dataclass(frozen=True, kw_only=True)
class Message:
    """A preview has bytes, everything else has data."""

    kind: str
    data: dict[str, Any]
    preview: bytes = b""


def ends(message: Message, prompt_id: str) -> bool:
    """Whether it says that a graph has ended, well or not; its entry in the history is there then."""
    about = message.data.get("prompt_id") == prompt_id
    return message.kind == "executing" and about and message.data.get("node") is None


def parse(received: str | bytes) -> Message:
    """What came over the websocket."""
    if isinstance(received, str):
        body = json.loads(received)
        return Message(kind=body["type"], data=body.get("data") or {})
    (kind,) = struct.unpack(">I", received[:4])
    if kind == PREVIEW_IMAGE:
        return Message(kind="preview", data={}, preview=received[PREVIEW_HEADER:])
    return Message(kind=f"binary {kind}", data={})
