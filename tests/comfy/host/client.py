"""A client of a ComfyUI server: queues graphs, follows them, and brings back what they made."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import requests
from websockets.sync.client import connect

from .messages import Message, ends, parse

Graph = dict[str, dict[str, Any]]  # a workflow in API format: nodes by id

WAIT_S = 240.0
POLL_S = 1.0
HTTP_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A graph that has ended."""

    prompt_id: str
    status: str  # success, error or interrupted
    outputs: dict[str, Any]  # of each node that shows something, as in the history
    files: dict[str, tuple[bytes, ...]]  # of these outputs
    messages: tuple[Message, ...]  # from queueing to the end
    error: dict[str, Any] | None

    @property
    def previews(self) -> tuple[bytes, ...]:
        """The pictures that were sent while it ran."""
        return tuple(message.preview for message in self.messages if message.preview)

    def executed(self) -> list[str]:
        """The nodes that ran, in order; those with a cached result are not among them."""
        started = [message.data["node"] for message in self.messages if message.kind == "executing"]
        return [node for node in started if node is not None]


class RefusedError(Exception):
    """The server did not accept a graph."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"{status}: {json.dumps(body)[:2000]}")
        self.status = status
        self.error: dict[str, Any] = body.get("error", {})
        self.node_errors: dict[str, Any] = body.get("node_errors", {})  # by the id of the node


class ComfyClient:
    """One websocket and the HTTP routes; for one test."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.id = uuid.uuid4().hex
        self._open = ExitStack()
        address = f"{url.replace('http', 'ws', 1)}/ws?clientId={self.id}"
        self._socket = self._open.enter_context(connect(address, max_size=None, open_timeout=HTTP_S, proxy=None))
        self._seen: list[Message] = []

    def close(self) -> None:
        self._open.close()

    def __enter__(self) -> ComfyClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def get(self, path: str, **query: str) -> requests.Response:
        """Any route.

        Raises:
            requests.HTTPError: if the answer is an error.
        """
        answer = requests.get(f"{self.url}{path}", params=query, timeout=HTTP_S)
        answer.raise_for_status()
        return answer

    def object_info(self) -> dict[str, Any]:
        """All nodes that the server offers, by id."""
        return dict(self.get("/object_info").json())

    def history(self, prompt_id: str) -> dict[str, Any] | None:
        """Of a graph that has ended."""
        entries: dict[str, dict[str, Any]] = self.get(f"/history/{prompt_id}").json()
        return entries.get(prompt_id)

    def upload_image(self, name: str, data: bytes) -> str:
        """Put a picture into the input folder; the name for `LoadImage`."""
        answer = requests.post(
            f"{self.url}/upload/image", files={"image": (name, data)}, data={"overwrite": "true"}, timeout=HTTP_S
        )
        answer.raise_for_status()
        return str(answer.json()["name"])

    def queue(self, graph: Graph) -> str:
        """Let a graph run; its prompt id.

        Raises:
            RefusedError: if the server does not accept it.
        """
        body = {"prompt": graph, "client_id": self.id}
        answer = requests.post(f"{self.url}/prompt", json=body, timeout=HTTP_S)
        if answer.status_code != 200:
            raise RefusedError(answer.status_code, answer.json())
        return str(answer.json()["prompt_id"])

    def interrupt(self) -> None:
        """End the graph that runs."""
        requests.post(f"{self.url}/interrupt", json={}, timeout=HTTP_S).raise_for_status()

    def free(self, *, unload_models: bool, free_memory: bool) -> None:
        """What the buttons that give memory back send; the server heeds it when nothing runs."""
        body = {"unload_models": unload_models, "free_memory": free_memory}
        requests.post(f"{self.url}/free", json=body, timeout=HTTP_S).raise_for_status()

    def run(self, graph: Graph, *, timeout_s: float = WAIT_S) -> Outcome:
        """Queue a graph and wait for its end."""
        return self.wait(self.queue(graph), timeout_s=timeout_s)

    def until(self, wanted: Callable[[Message], bool], *, timeout_s: float = WAIT_S) -> Message:
        """Read messages up to the first such one; `wait` still counts those read.

        Raises:
            TimeoutError: if none comes.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            message = self._next()
            if message is not None and wanted(message):
                return message
        raise TimeoutError(f"no such message within {timeout_s:.0f} s; the last were {self._seen[-5:]}")

    def wait(self, prompt_id: str, *, timeout_s: float = WAIT_S) -> Outcome:
        """Until a graph has ended, well or not.

        Raises:
            TimeoutError: if it does not.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            # `execution_success` precedes the history's entry; `executing` without a node follows it
            message = self._next()
            if message is None or ends(message, prompt_id):
                entry = self.history(prompt_id)
                if entry is not None:
                    return self._outcome(prompt_id, entry)
        raise TimeoutError(f"the graph has not ended within {timeout_s:.0f} s; the last were {self._seen[-5:]}")

    def _next(self) -> Message | None:
        """The next message, or None if there is none for a moment."""
        try:
            received = self._socket.recv(timeout=POLL_S)
        except TimeoutError:
            return None
        message = parse(received)
        self._seen.append(message)
        return message

    def _outcome(self, prompt_id: str, entry: dict[str, Any]) -> Outcome:
        said = dict(entry["status"]["messages"])
        interrupted = "execution_interrupted" in said
        seen, self._seen = self._seen, []
        return Outcome(
            prompt_id=prompt_id,
            status="interrupted" if interrupted else entry["status"]["status_str"],
            outputs=entry["outputs"],
            files={node: self._files(shown) for node, shown in entry["outputs"].items()},
            messages=tuple(message for message in seen if message.data.get("prompt_id", prompt_id) == prompt_id),
            error=said.get("execution_error"),
        )

    def _files(self, shown: dict[str, Any]) -> tuple[bytes, ...]:
        """Pictures and videos alike are lists of entries with a file name."""
        entries = [entry for listed in shown.values() if isinstance(listed, list) for entry in listed]
        named = [entry for entry in entries if isinstance(entry, dict) and "filename" in entry]
        return tuple(
            self.get("/view", filename=at["filename"], subfolder=at["subfolder"], type=at["type"]).content
            for at in named
        )
