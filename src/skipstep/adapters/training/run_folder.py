"""A run that is not finished, on disk beside its result: what it was asked for, and its checkpoints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from ...errors import AdapterError, OptionError, OutputError
from ...whole import check_free, output_errors, write_whole
from ..folder import NAME
from ..strict_json import parse_object

SETTINGS = "run.json"
CHECKPOINT = "checkpoint.safetensors"
WHOLE = "whole"  # marks a trainer's checkpoint that was written to its end
FORMAT = "skipstep-training-1"
MAX_SETTINGS = 2**20


class RunFolder:
    """`OUT.training`, which is there while `OUT` is being made.

    Raises:
        OutputError: if `out` or the folder is in the way, or cannot be written.
        OptionError: if there is nothing to resume.
        AdapterError: if the run was started with other settings; names the first.
    """

    def __init__(self, out: Path, settings: Mapping[str, object], *, resume: bool) -> None:
        self.path = out.with_name(f"{out.name}.training")
        self.checkpoint = self.path / CHECKPOINT
        if resume:
            self._check_same(settings)
        else:
            self._start(settings)

    def newest(self) -> Path | None:
        """The last checkpoint that is whole: a file of a loop of ours, or a folder of a trainer."""
        if self.checkpoint.is_file():
            return self.checkpoint
        found = [folder for folder in self.path.glob("checkpoint-*") if (folder / WHOLE).is_file()]
        return max(found, key=lambda folder: int(folder.name.split("-")[1]), default=None)

    def remove(self) -> None:
        """Delete it, if it is one of ours."""
        if (self.path / SETTINGS).is_file():
            shutil.rmtree(self.path, ignore_errors=True)

    def _start(self, settings: Mapping[str, object]) -> None:
        if self.path.exists():
            raise OutputError(f"{self.path} has a run that is not finished; resume it, or delete that folder")
        with output_errors(self.path):
            self.path.mkdir(parents=True)
        write_whole(self.path / SETTINGS, (json.dumps({"format": FORMAT, **settings}, indent=1) + "\n").encode())

    def _check_same(self, settings: Mapping[str, object]) -> None:
        if not (self.path / SETTINGS).is_file() or self.newest() is None:
            raise OptionError(f"there is no checkpoint in {self.path}; start without resuming")
        raw = (self.path / SETTINGS).read_bytes()[:MAX_SETTINGS]
        found = parse_object(raw, f"{self.path.name}/{SETTINGS}")
        asked = json.loads(json.dumps({"format": FORMAT, **settings}))
        for name in sorted({*found, *asked}):
            if found.get(name) != asked.get(name):
                raise AdapterError(
                    f"{name}: the run was started with {str(found.get(name))[:200]}, and is resumed with "
                    f"{str(asked.get(name))[:200]}; give the same"
                )


def check_out(out: Path) -> None:
    """See before anything is computed that the result can be written to `out`.

    Raises:
        OutputError: if it is there and not an empty folder, or no adapter can have that name.
    """
    check_free(out)
    if not NAME.fullmatch(out.name):
        raise OutputError(f"{out.name[:80]!r} is no name for an adapter; use letters, digits, '.', '_' and '-'")
