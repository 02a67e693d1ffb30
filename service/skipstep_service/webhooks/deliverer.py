"""Delivers what is due, again and again until it is delivered or given up."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence

import sqlalchemy as sa
import structlog

from ..store.deliveries import Delivery
from ..store.job_store import JobRow, JobStore
from .sending import Sender, SendError

_POLL_S = 0.25
_AT_ONCE = 16
_GONE = 410  # the receiver wants no more
_STOP_S = 5.0
_UNFORESEEN_S = 60.0  # until a try that failed by a fault of ours is made again
log = structlog.get_logger()


class Deliverer:
    """A thread that looks for deliveries that are due; what it has not delivered when it ends, the next one does.

    `message_of` makes an id and a body of a job that has ended; `retries_s` are the waits after tries that failed.
    A receiver has every event at least once: twice, if the process ends before it noted the answer.
    """

    def __init__(
        self,
        store: JobStore,
        sender: Sender,
        message_of: Callable[[JobRow], tuple[str, str]],
        retries_s: Sequence[float],
    ) -> None:
        self._store = store
        self._sender = sender
        self._message_of = message_of
        self._retries_s = tuple(retries_s)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="skipstep-webhooks", daemon=True)

    def start(self) -> None:
        """Begin with what is due already."""
        self._thread.start()

    def stop(self) -> None:
        """End soon; tries under way are broken off, and made again by the next process."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    async def _run(self) -> None:
        under_way: dict[str, asyncio.Task[None]] = {}
        try:
            while not self._stopping.is_set():
                # before the look, which finds rows of tries that end during it as they were
                under_way = {job: one_try for job, one_try in under_way.items() if not one_try.done()}
                for one in await asyncio.to_thread(self._due):
                    if one.job_id not in under_way:
                        under_way[one.job_id] = asyncio.create_task(self._guarded(one))
                await asyncio.sleep(_POLL_S)
        finally:
            for one_try in under_way.values():
                one_try.cancel()
            await asyncio.gather(*under_way.values(), return_exceptions=True)

    def _due(self) -> list[Delivery]:
        try:
            return self._store.deliveries.due(now=time.time(), limit=_AT_ONCE)
        except sa.exc.SQLAlchemyError as error:
            log.warning("deliveries could not be read", error=str(getattr(error, "orig", error)))
            return []

    async def _guarded(self, delivery: Delivery) -> None:
        try:
            await self._try(delivery)
        except Exception:
            log.exception("a webhook failed", job=delivery.job_id)
            await asyncio.sleep(_UNFORESEEN_S)

    async def _try(self, delivery: Delivery) -> None:
        row = await asyncio.to_thread(self._store.get, delivery.job_id)
        if row is None:  # deleted meanwhile
            return
        message_id, body = self._message_of(row)
        is_gone, problem = False, None
        try:
            status = await self._sender.send(delivery.url, message_id=message_id, body=body)
        except SendError as error:
            problem = str(error)
        else:
            is_gone = status == _GONE
            problem = None if 200 <= status < 300 else f"answered with status {status}"
        while (failed := await self._note(delivery, problem, is_gone=is_gone)) is not None:
            log.warning("a delivery could not be noted", job=delivery.job_id, error=failed)
            await asyncio.sleep(_POLL_S)

    async def _note(self, delivery: Delivery, problem: str | None, *, is_gone: bool) -> str | None:
        """Keep what came of a try; what keeps that from being kept."""
        rows, job, now = self._store.deliveries, delivery.job_id, time.time()
        if problem is None:
            written = rows.delivered(job, now=now)
        elif is_gone or delivery.attempts >= len(self._retries_s):
            log.warning("a webhook was given up", job=job, tries=delivery.attempts + 1, error=problem)
            written = rows.give_up(job, now=now, error=problem)
        else:
            written = rows.put_off(job, until=now + self._retries_s[delivery.attempts], error=problem)
        try:
            await asyncio.wrap_future(written)
        except sa.exc.SQLAlchemyError as error:
            return str(getattr(error, "orig", error))
        return None
