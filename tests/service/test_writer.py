"""The thread that writes: whoever asked may be gone by then."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import sqlalchemy as sa
from skipstep_service.store.database import open_database
from skipstep_service.store.writer import Writer


def test_a_request_that_ends_early_does_not_end_the_thread(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'jobs.db'}")
    writer, may_go_on = Writer(engine), threading.Event()

    def change(_: sa.Connection) -> int:
        may_go_on.wait()
        return 1

    async def leave() -> None:
        asked = asyncio.ensure_future(asyncio.wrap_future(writer.submit(change)))
        await asyncio.sleep(0)
        asked.cancel()

    asyncio.run(leave())
    may_go_on.set()
    assert writer.submit(lambda _: 2).result(timeout=5) == 2
    writer.close()
    engine.dispose()
