"""Jobs whose prompts are expanded before they run; the expansion is on disk before they do."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from skipstep.errors import SkipstepError
from skipstep.promptllm import Expansion

from ..jobs.expansion import told, unchanged
from ..jobs.live import LiveJob
from ..prompts.line import StoppedError
from ..prompts.prompting import Prompting
from .finisher import Finisher

NO_MODEL = "the server has no prompt model any more"


class Expanding:
    """Has prompts expanded, whatever comes of it: the prompt stays as it is where the model gives nothing.

    `go_on` is called with a job when its expansion is on disk, in some thread. A job that the server's end interrupts
    waits for the next start, which expands it anew.
    """

    def __init__(self, prompting: Prompting | None, finisher: Finisher, go_on: Callable[[LiveJob], None]) -> None:
        self._prompting = prompting
        self._finisher = finisher
        self._go_on = go_on

    def begin(self, job: LiveJob) -> None:
        """Have the prompt of a job expanded. Does not block."""
        request = job.row.request
        if self._prompting is None:
            self._keep(job, unchanged(request, NO_MODEL))
            return

        def check() -> None:
            if job.cancel_asked.is_set() or time.time() > job.row.deadline_at:
                raise StoppedError

        try:
            asked = self._prompting.request_of(request["prompt"], request["expand"], seed=request["seed"])
        except SkipstepError as error:  # an adapter or a preset that is there no more
            self._keep(job, unchanged(request, str(error)))
            return
        turn = self._prompting.expand_for_job(asked, check)
        turn.future.add_done_callback(lambda done: self._ended(job, done))

    def _ended(self, job: LiveJob, done: Future[Expansion]) -> None:
        error = done.exception()
        if error is None:
            self._keep(job, told(job.row.request["prompt"], done.result()))
        elif isinstance(error, SkipstepError):  # and not that the server ends, or that the job is not wanted any more
            self._keep(job, unchanged(job.row.request, str(error)))

    def _keep(self, job: LiveJob, expansion: dict[str, Any]) -> None:
        request = {**job.row.request, "expansion": expansion}

        def go_on() -> None:
            job.row = replace(job.row, request=request)
            job.tell("expansion", **expansion)
            self._go_on(job)

        self._finisher.keep_request(job, request, go_on)
