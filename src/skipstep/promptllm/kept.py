"""Expansions on disk, so that the same request is answered once."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from dataclasses import fields, replace
from importlib import metadata
from pathlib import Path

from ..errors import OptionError, OutputError
from ..folders import cache_folder
from ..whole import write_whole
from .request import ExpandRequest, Expansion

MAX_FILES = 4096
MAX_FILE_BYTES = 65_536
UNKEYED = ("preset", "timeout_s", "adapters")  # by its text, not at all, and by their weights
KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "str | None": (str, type(None)),
    "bool": (bool,),
    "tuple[str, ...]": (tuple,),
}


def default_folder() -> Path:
    """The user's cache folder for expansions.

    Raises:
        MissingExtraError, OutputError: as `cache_folder`.
    """
    return cache_folder("prompts")


class ExpansionFolder:
    """One small JSON file a request; what is damaged counts as missing, and the oldest go when there are too many.

    A folder that cannot be written to keeps nothing.

    Raises:
        OptionError: if the limit is below 1.
    """

    def __init__(self, folder: Path, *, limit: int = MAX_FILES) -> None:
        if limit < 1:
            raise OptionError(f"the limit of kept expansions must be 1 or more, got {limit}")
        self._folder = folder
        self._limit = limit

    def get(self, request: ExpandRequest, identity: str) -> Expansion | None:
        """What was kept for this request; `identity` names the engine and the adapters."""
        started = time.monotonic()
        key = _key(request, identity)
        try:
            with self._file(key).open("rb") as file:
                data = json.loads(file.read(MAX_FILE_BYTES))
            if data.pop("key") != key:
                return None
            found = Expansion(**{**data, "adapters": tuple(data["adapters"])})
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None
        sound = all(isinstance(getattr(found, field.name), KINDS[str(field.type)]) for field in fields(Expansion))
        if not sound or found.reason is not None:
            return None
        return replace(found, cached=True, seconds=time.monotonic() - started)

    def put(self, request: ExpandRequest, identity: str, made: Expansion) -> None:
        """Keep an expansion, if the folder can be written to."""
        key = _key(request, identity)
        text = json.dumps({"key": key, **made.as_dict()})
        with suppress(OSError, OutputError):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._file(key), text.encode())
            self._make_room()

    def _file(self, key: str) -> Path:
        return self._folder / f"{key}.json"

    def _make_room(self) -> None:
        files = list(self._folder.glob("*.json"))
        if len(files) > self._limit:
            files.sort(key=lambda file: file.stat().st_mtime_ns)
            for file in files[: len(files) - self._limit]:
                file.unlink(missing_ok=True)


def _key(request: ExpandRequest, identity: str) -> str:
    """A hash of all that an answer depends on; a timeout is not part of it."""
    asked = {name: value for name, value in vars(request).items() if name not in UNKEYED}
    parts = [_version(), identity, request.preset.name, request.preset.sha256, asked]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _version() -> str:
    try:
        return metadata.version("skipstep")
    except metadata.PackageNotFoundError:  # run from its sources
        return "sources"
