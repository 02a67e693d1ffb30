"""Answers that are written by a thread and read until a deadline."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from threading import Event, Thread

from ..errors import PromptEngineError, SkipstepError
from .engine import Piece

MAX_CHARACTERS = 32_768

Put = Callable[[Piece], bool]


def read_until(
    deadline: float, write: Callable[[Put], None], *, stop: Callable[[], None] | None = None
) -> Iterator[Piece]:
    """The pieces that `write` hands to its argument, which answers True when nobody reads any more.

    `write` runs in a thread of its own. Where the reader stops first, by the deadline (seconds of `time.monotonic`),
    by closing the iterator or because the answer has more than 32,768 characters, `stop` is called.

    Raises:
        PromptEngineError: at the deadline, for an endless answer, or for what `write` raised.
    """
    line: queue.Queue[Piece | Exception | None] = queue.Queue()
    unread = Event()
    started = time.monotonic()

    def put(piece: Piece) -> bool:
        line.put(piece)
        return unread.is_set()

    def work() -> None:
        try:
            write(put)
        except Exception as error:  # noqa: BLE001  raised where the answer is read
            line.put(error)
        else:
            line.put(None)

    Thread(target=work, name="skipstep-prompt", daemon=True).start()
    characters = 0
    try:
        while True:
            try:
                item = line.get(timeout=max(deadline - time.monotonic(), 0))
            except queue.Empty:
                raise PromptEngineError(f"no whole answer within {round(deadline - started, 2):g} s") from None
            if item is None:
                return
            if isinstance(item, SkipstepError):
                raise item
            if isinstance(item, Exception):
                raise PromptEngineError(f"the engine failed: {type(item).__name__}: {item}") from item
            characters += len(item.text)
            if characters > MAX_CHARACTERS:
                raise PromptEngineError(f"the answer has more than {MAX_CHARACTERS} characters")
            yield item
    finally:
        unread.set()
        if stop is not None:
            stop()
