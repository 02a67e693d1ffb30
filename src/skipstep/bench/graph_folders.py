"""Where a benchmark keeps compiled graphs: in a folder of its own that begins empty, or in one for the next to find."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from ..compile import CompileOptions, Compiler, GraphStore
from ..compile.signature import digest
from ..errors import OutputError
from .case import BenchRow

_OF_TORCH = {"TORCHINDUCTOR_CACHE_DIR": ".", "TRITON_CACHE_DIR": "triton"}


class GraphFolders:
    """A folder for each compiler, so that none finds what another made; deleted afterwards if it is not to be kept.

    Raises:
        OutputError: from `with`, if the folder cannot be made.
    """

    def __init__(self, kept: Path | None) -> None:
        self._kept = kept
        self._used: set[Path] = set()

    def __enter__(self) -> GraphFolders:
        self._temporary = None if self._kept is not None else tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._folder = Path(self._temporary.name if self._temporary is not None else self._kept or "").absolute()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot keep graphs in {self._kept}: {error.strerror or error}") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._temporary is not None:
            self._temporary.cleanup()

    def new_compiler(self, backend: str, options: CompileOptions) -> Compiler:
        """A compiler with a folder of its own.

        Raises:
            OptionError, BackendError: as `Compiler`.
        """
        return Compiler(backend, options, store=GraphStore(self._of(backend, options) / "graphs"))

    @contextmanager
    def kernels_of(self, backend: str, row: BenchRow) -> Iterator[None]:
        """Have torch keep its kernels in the row's folder for the time of a run."""
        folder = (self._of(backend, row.compile) if row.peer is None else self._of(row.peer, row.name)) / "kernels"
        if folder not in self._used and "torch._inductor.utils" in sys.modules:
            from torch._inductor.utils import clear_caches

            clear_caches()  # in memory it would still find those of the row before
        self._used.add(folder)
        before = {name: os.environ.get(name) for name in _OF_TORCH}
        os.environ.update({name: str(folder / inner) for name, inner in _OF_TORCH.items()})
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value

    def _of(self, maker: str, given: CompileOptions | str) -> Path:
        return self._folder / f"{maker}-{digest(given)}"
