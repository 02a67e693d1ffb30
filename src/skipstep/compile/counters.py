"""What compiling cost and how often its results were used."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class CompileCounters:
    """Counts of one compiler, over all of its UNets, branches and shapes."""

    compiles: int = 0  # graphs made anew; a pass that torch traced twice for one shape counts twice
    cached: int = 0  # of these, whose kernels torch had on disk
    loads: int = 0  # graphs read from disk
    hits: int = 0  # calls answered by a graph
    eager: int = 0  # calls answered without one: not compiled by choice, or because compiling failed
    refreshes: int = 0  # times weights were handed to a graph anew
    seconds: float = 0.0  # spent compiling and loading
    weight_bytes: int = 0  # copies of weights that graphs hold beside the model's own
    failures: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """All of them, plain enough for JSON."""
        return asdict(self)
