"""The demo model, loaded once, on as few pixels as it can draw on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from skipstep.engine import ImageEngine, ImageRequest, load_model


@pytest.fixture(scope="session")
def engine() -> ImageEngine:
    return ImageEngine(load_model())


@pytest.fixture
def request_for() -> Callable[..., ImageRequest]:
    """An `ImageRequest` with small defaults."""
    return partial(ImageRequest, prompt="a fox on a blue background", width=64, height=64, steps=12, seed=3)
