"""Servers for the tests of the service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from prompt_engines import Playing
from served import Client, serving
from skipstep_service.prompts import opening

from skipstep.promptllm import ClipTokens, opened

Serve = Callable[..., AbstractContextManager[Client]]
Play = Callable[..., AbstractContextManager[Client]]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server with a quick dummy engine."""
    with serving(tmp_path_factory.mktemp("service"), dummy_step_s=0.002) as client:
        yield client


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Starts servers in one folder: `with serve(dummy_step_s=0.1) as client`."""

    def start(**settings: Any) -> AbstractContextManager[Client]:
        return serving(tmp_path, **settings)

    return start


@pytest.fixture(scope="session")
def clip() -> ClipTokens:
    """CLIP's tokenizer, which takes seconds to load."""
    return ClipTokens()


@pytest.fixture
def play(serve: Serve, clip: ClipTokens, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Starts servers with a prompt model of the test: `with play(Playing(), prompt_max_queue=2) as client`."""

    def start(engine: Playing, /, **settings: Any) -> AbstractContextManager[Client]:
        monkeypatch.setattr(opened, "ClipTokens", lambda: clip)
        monkeypatch.setattr(opening, "open_engine", lambda *_, **__: engine)
        return serve(**{"prompt_engine": "gguf", **settings})

    return start
