"""Fixtures of the tests that compile in earnest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def lean_inductor() -> Iterator[None]:
    """No pool of workers, each of which would import torch, and no programs to try out what the processor can."""
    import torch._inductor.config

    with torch._inductor.config.patch({"compile_threads": 1, "cpp.vec_isa_ok": True}):
        yield
