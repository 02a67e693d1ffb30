"""Ends jobs: files on disk first, then the row, then the event; off the thread that draws."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import structlog

from skipstep.errors import SkipstepError

from ..engines.protocol import Made
from ..jobs.live import LiveJob
from ..jobs.states import FAILED, SUCCEEDED
from ..store.job_store import JobStore
from ..store.probe import STORE_DOWN
from ..store.results import ResultStore

T = TypeVar("T")
_AGAIN_S = 0.25
log = structlog.get_logger()


class Finisher:
    """Writes what jobs came to, and tries again while it cannot be written: an accepted job is not lost to a full disk.

    `blocked_by` says what keeps it from writing now.
    """

    def __init__(self, store: JobStore, results: ResultStore, *, threads: int = 2) -> None:
        self.blocked_by: str | None = None
        self._store = store
        self._results = results
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="skipstep-finish")
        self._stopping = threading.Event()

    def close(self) -> None:
        """Finish what can be; jobs that cannot be written are left to the next start."""
        self._stopping.set()
        self._pool.shutdown(wait=True)

    def succeed(self, job: LiveJob, made: Sequence[Made], figures: dict[str, Any]) -> Future[None]:
        """Keep what a job made, and end it."""
        return self._submit(self._succeed, job, made, figures)

    def fail(self, job: LiveJob, error: BaseException) -> Future[None]:
        """End a job with an error."""
        shown = error_of(error)
        if shown["code"] == "internal":
            log.error("job failed", job=job.row.id, error="".join(traceback.format_exception(error)))
        return self.end(job, FAILED, error=shown)

    def end(self, job: LiveJob, status: str, *, error: dict[str, Any] | None = None) -> Future[None]:
        """End a job that made nothing."""
        return self._submit(self._end, job, status, error)

    def keep_request(self, job: LiveJob, request: dict[str, Any], go_on: Callable[[], None]) -> None:
        """Keep what a waiting job has become, and go on with it; when the server ends, it is left as it was."""

        def keep() -> None:
            self._until_written(lambda: self._store.keep_request(job.row.id, request, lease=job.row.lease).result())
            try:
                go_on()
            except Exception as error:  # noqa: BLE001 - it is this job's
                self.fail(job, error)

        self._submit(keep)

    def _submit(self, what: Callable[..., None], *given: Any) -> Future[None]:
        try:
            return self._pool.submit(what, *given)
        except RuntimeError:  # it is closed, and the job left to the next start, or to another server
            left: Future[None] = Future()
            left.cancel()
            return left

    def _succeed(self, job: LiveJob, made: Sequence[Made], figures: dict[str, Any]) -> None:
        started = time.perf_counter()
        listed: list[dict[str, Any]] = []
        try:
            for row in made:
                for output in row.outputs:
                    data = output.encode()
                    self._until_written(lambda name=output.name, data=data: self._results.put(job.row.id, name, data))
                    listed.append({"name": output.name, "media_type": output.media_type, "bytes": len(data)})
        except Exception as error:  # noqa: BLE001 - an encoder that fails must not leave the job running for ever
            self.fail(job, error).add_done_callback(_raise)
            return
        for one in listed:
            job.tell("output", **one)
        finish_ms = round((time.perf_counter() - started) * 1000, 3)
        result = {"outputs": listed, "images": [row.report for row in made], **figures, "finish_ms": finish_ms}
        self._end(job, SUCCEEDED, None, result)

    def _end(
        self, job: LiveJob, status: str, error: dict[str, Any] | None, result: dict[str, Any] | None = None
    ) -> None:
        def write() -> None:
            is_told = job.row.request.get("webhook") is not None
            written = self._store.finish(
                job.row.id, status, now=time.time(), result=result, error=error, is_told=is_told, lease=job.row.lease
            )
            if not written.result():
                job.lose()

        self._until_written(write)
        job.tell(
            "status", status=status, **({"error": error} if error else {}), **({"result": result} if result else {})
        )

    def _until_written(self, write: Any) -> None:
        while True:
            try:
                write()
            except (OSError, *STORE_DOWN) as error:
                self.blocked_by = str(getattr(error, "orig", error))
                if self._stopping.wait(_AGAIN_S):
                    raise
            else:
                self.blocked_by = None
                return


def error_of(error: BaseException) -> dict[str, Any]:
    """What a client is told of an error: all of one that was raised on purpose, and no more than the kind of others."""
    if isinstance(error, SkipstepError):
        return {"code": "cannot_run", "message": str(error)}
    if "OutOfMemory" in type(error).__name__:
        return {"code": "out_of_memory", "message": "the GPU has no room for this job even by itself; make it smaller"}
    return {"code": "internal", "message": f"{type(error).__name__} while the job ran; the server's log has more"}


def _raise(future: Future[None]) -> None:
    future.result()
