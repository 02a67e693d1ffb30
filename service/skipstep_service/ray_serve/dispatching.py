"""Hands jobs that were accepted here to engine replicas, and sees to each until it has ended."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Hashable
from typing import Any, Protocol

import structlog

from ..store.job_store import JobRow, JobStore
from ..store.probe import STORE_DOWN

_AGAIN_S = 1.0
log = structlog.get_logger()


class Replicas(Protocol):
    """The engine replicas."""

    async def run(self, row: JobRow, key: str) -> bool:
        """Have one of them run a job; whether it ended there.

        Raises:
            Exception: of Ray, if the replica or the way to it is no more.
        """
        ...


class Dispatcher:
    """Of one ingress replica; `on_end` is called when a job has ended.

    What it had when it died is found by engine replicas, as jobs that nobody has.
    """

    def __init__(
        self,
        replicas: Replicas,
        store: JobStore,
        loop: asyncio.AbstractEventLoop,
        *,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._replicas = replicas
        self._store = store
        self._loop = loop
        self._on_end = on_end
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def jobs(self) -> int:
        """Jobs that are seen to."""
        return len(self._under_way)

    def hand_over(self, row: JobRow, key: Hashable) -> None:
        """See to a job from now on; may be called from any thread."""
        self._loop.call_soon_threadsafe(self._begin, row, key)

    def close(self) -> None:
        """Look after none any more; those that run go on."""
        for one in list(self._under_way):
            self._loop.call_soon_threadsafe(one.cancel)

    def _begin(self, row: JobRow, key: Hashable) -> None:
        one = self._loop.create_task(self._see_to(row, text_of(key)))
        self._under_way.add(one)
        one.add_done_callback(self._under_way.discard)

    async def _see_to(self, row: JobRow, key: str) -> None:
        while True:
            try:
                if await self._replicas.run(row, key):
                    self._on_end()
                    return
            except Exception as error:  # noqa: BLE001 - Ray's are many: whatever it was, the job is still to be done
                log.warning("a replica was lost, or cannot be reached", job=row.id, error=_first_line(error))
            if await self._is_over(row.id):
                return
            await asyncio.sleep(_AGAIN_S)

    async def _is_over(self, job_id: str) -> bool:
        try:
            row = await asyncio.to_thread(self._store.get, job_id)
        except STORE_DOWN:
            return False
        return row is None or row.is_done


def text_of(key: Hashable) -> str:
    """A batch key as it travels: equal ones have equal texts in all processes."""
    return hashlib.sha256(repr(key).encode()).hexdigest()[:16]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class ServeReplicas:
    """By a handle of Ray Serve."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def run(self, row: JobRow, key: str) -> bool:
        """By the router that the handle's deployment has."""
        asked = self._handle.options(multiplexed_model_id=row.request["model"])
        return bool(await asked.run.remote(job_id=row.id, key=key))
