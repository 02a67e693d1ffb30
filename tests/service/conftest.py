"""Servers for the tests of the service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from served import Client, serving

Serve = Callable[..., AbstractContextManager[Client]]


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
