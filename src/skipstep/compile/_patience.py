"""Calls that may hang: they are waited for only as long as they get on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar, cast

Result = TypeVar("Result")


def watched(call: Callable[[Callable[[], None]], Result], patience_s: float) -> Result:
    """What the call gives, which runs in a thread of its own and is left alone when it stops making progress.

    Raises:
        TimeoutError: if it did.
        whatever the call raises.
    """
    done, moved = threading.Event(), [time.monotonic()]
    ended: list[tuple[Result | None, Exception | None]] = []

    def run() -> None:
        try:
            ended.append((call(lambda: moved.__setitem__(0, time.monotonic())), None))
        except Exception as error:  # noqa: BLE001  raised below
            ended.append((None, error))
        done.set()

    threading.Thread(target=run, name="skipstep-shared-graph", daemon=True).start()
    while not done.wait(max(0.0, moved[0] + patience_s - time.monotonic())):
        if time.monotonic() - moved[0] >= patience_s:
            raise TimeoutError(f"nothing came for {patience_s:g} s")
    result, error = ended[0]
    if error is not None:
        raise error
    return cast(Result, result)
