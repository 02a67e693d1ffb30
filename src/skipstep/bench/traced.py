"""What torch does and says while it compiles for a library that we do not steer."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass


@dataclass
class Traced:
    """Counts of one library's compiling."""

    compiles: int = 0  # graphs
    breaks: int = 0  # places where a graph ended too early
    cached: int = 0  # graphs whose kernels were on disk
    warnings: int = 0  # of torch's log, which are not printed

    def as_dict(self) -> dict[str, int]:
        """All of them."""
        return asdict(self)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what torch does in the block."""
        before = _counts()
        with _unprinted() as held:
            try:
                yield
            finally:
                now = _counts()
                self.compiles += now[0] - before[0]
                self.breaks += now[1] - before[1]
                self.cached += now[2] - before[2]
                self.warnings += len(held)


def _counts() -> tuple[int, int, int]:
    from torch._dynamo.utils import counters

    breaks = sum(counters["graph_break"].values())
    return counters["stats"]["unique_graphs"], breaks, counters["inductor"]["fxgraph_cache_hit"]


@contextmanager
def _unprinted() -> Iterator[list[logging.LogRecord]]:
    """Hold back the warnings of torch's loggers, each of which has a handler of its own."""
    held: list[logging.LogRecord] = []

    def hold(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            held.append(record)
        return record.levelno < logging.WARNING

    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "torch"]
    handlers = {handler for name in names for handler in logging.getLogger(name).handlers}
    for handler in handlers:
        handler.addFilter(hold)
    try:
        yield held
    finally:
        for handler in handlers:
            handler.removeFilter(hold)
