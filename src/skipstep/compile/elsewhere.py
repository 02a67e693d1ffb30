"""What a store needs of a place that other machines' stores use, too."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Elsewhere(Protocol):
    """Where the stores of several machines have the same files."""

    def fetch(self, name: str, made: Path) -> str | None:
        """Write the file of this name to `made`; its title, or None if there is none that is whole."""
        ...

    def offer(self, path: Path) -> None:
        """Have it there, too, if nobody has brought one of its name; returns at once."""
        ...

    def replace(self, path: Path) -> None:
        """Have it there in place of what is; returns at once."""
        ...
