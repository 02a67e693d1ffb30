"""Pictures as they come: OpenAI's image_generation events from the events of a job."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.types import Receive, Scope, Send

from ..errors import ApiError
from ..jobs.events import Event
from ..service import JobService
from .openai_shape import error_body
from .waiting import Awaited, events_of, made_by

_PAUSE_S = 15.0  # after which proxies are told that the connection lives
NO_TOKENS = {  # OpenAI's clients read them
    "input_tokens": 0,
    "output_tokens": 0,
    "total_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
}


def revised(awaited: Awaited) -> dict[str, str]:
    """The prompt that was drawn, under OpenAI's name for it, where it was to be expanded."""
    return {} if awaited.expansion is None else {"revised_prompt": awaited.expansion["prompt"]}


class PictureStream(StreamingResponse):
    """Up to `partials` previews of a job's picture, then the picture. A client that leaves ends the job."""

    media_type = "text/event-stream"

    def __init__(self, service: JobService, awaited: Awaited, *, partials: int, quality: str) -> None:
        self._service = service
        self._awaited = awaited
        self._quality = quality
        self._steps = Spread(partials, steps=int(awaited.row.request["steps"]))
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(self._events(), headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._awaited.leave()

    async def _events(self) -> AsyncIterator[bytes]:
        try:
            async for event in events_of(self._awaited, pause_s=_PAUSE_S):
                if event is None:
                    yield KEEPALIVE_COMMENT
                elif event.kind == "preview" and self._steps.takes(event.data["step"]):
                    index = self._steps.taken - 1
                    picture = {"b64_json": event.data["data"], "partial_image_index": index, "output_format": "jpeg"}
                    yield self._told("partial_image", picture)
                elif event.is_last:
                    yield self._told("completed", await self._completed(event))
        except ApiError as error:
            yield _sse("error", {"type": "error", **error_body(error)})

    async def _completed(self, end: Event) -> dict[str, Any]:
        made, row = made_by(end), self._awaited.row
        data = await asyncio.to_thread(self._service.results.read_all, row.id, made["outputs"][0]["name"])
        report = made["images"][0]
        more = {"size": f"{report['width']}x{report['height']}"} if "width" in report else {}
        seed = {"seed": report["seed"], "job_id": row.id}
        return {
            "b64_json": base64.b64encode(data).decode(),
            "usage": NO_TOKENS,
            **more,
            **seed,
            **revised(self._awaited),
        }

    def _told(self, kind: str, picture: dict[str, Any]) -> bytes:
        row = self._awaited.row
        width, height = row.request["width"], row.request["height"]
        usual = {
            "type": f"image_generation.{kind}",
            "created_at": int(row.created_at),
            "size": f"{width}x{height}" if width and height else "auto",
            "quality": self._quality,
            "background": "opaque",
            "output_format": row.request["format"],
        }
        return _sse(str(usual["type"]), {**usual, **picture})


class Spread:
    """Which of the steps are shown, of as many as are wanted: about evenly spaced, and none late for an earlier one."""

    def __init__(self, wanted: int, *, steps: int) -> None:
        self.taken = 0
        self._marks = [steps * (index + 1) / (wanted + 1) for index in range(wanted)]

    def takes(self, step: int) -> bool:
        """Whether this step, which has ended, is shown."""
        if not self._marks or step + 1 < self._marks[0]:
            return False
        self._marks = [mark for mark in self._marks if mark > step + 1]
        self.taken += 1
        return True


def _sse(kind: str, data: dict[str, Any]) -> bytes:
    return format_sse_event(event=kind, data_str=json.dumps(data, allow_nan=False))
