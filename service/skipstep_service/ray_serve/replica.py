"""An engine replica: a server without HTTP, whose jobs come by calls."""

from __future__ import annotations

import time

from ray import serve

from ..logs import set_up_logs
from ..opening import open_service
from ..settings import settings_of
from .figures import Figures
from .models import noted_models
from .sameness import check_same

_LOOK_S = 0.1


class EngineReplica:
    """One engine, its queue and its worker, on a node's device.

    Raises (when it starts):
        OptionError: if its node has other settings than those of `expected`, or a model cannot be opened.
        RuntimeError: if the worker ended while it warmed up.
    """

    def __init__(self, expected: dict[str, str]) -> None:
        set_up_logs()
        settings = settings_of()
        check_same(settings, expected)
        self._drain_s = settings.drain_s
        figures = Figures()
        opened = open_service(
            settings,
            max_queue=settings.ray.most(settings.max_rows),
            on_event=(figures.on_event,),
            on_question=figures.on_question,
            is_replica=True,
        )
        self._service = opened.service
        self._note_model = noted_models(settings.max_models, opened.engine.let_go)
        self._service.start()
        while not self._service.worker.is_ready:
            self.check_health()
            time.sleep(_LOOK_S)

    async def run(self, *, job_id: str, key: str) -> bool:
        """Run a job to its end; False if another server has it, or it has ended. `key` is for the router."""
        await self._note_model(serve.get_multiplexed_model_id())
        if not await self._service.take(job_id):
            return False
        await self._service.ended(job_id)
        return True

    def check_health(self) -> None:
        """Called by Serve, which starts another replica in place of one that raises.

        Raises:
            RuntimeError: if the worker has ended.
        """
        worker = self._service.worker
        if worker.failure is not None or (worker.is_ready and not worker.is_alive):
            raise RuntimeError(f"the worker ended: {worker.failure}")

    def __del__(self) -> None:
        """Called by Serve when no call is open any more: what waits is free for the others."""
        service = getattr(self, "_service", None)
        if service is not None and not service.is_draining:
            service.drain(self._drain_s)
