"""The demo model, loaded once, on as few pixels as it can draw on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from PIL import Image

from skipstep.engine import ImageEngine, ImageRequest, load_model
from skipstep.engine.models import VIDEO_FAMILIES
from skipstep.engine.video import VideoEngine
from skipstep.engine.video_request import VideoRequest


@pytest.fixture(scope="session")
def engine() -> ImageEngine:
    return ImageEngine(load_model())


@pytest.fixture
def request_for() -> Callable[..., ImageRequest]:
    """An `ImageRequest` with small defaults."""
    return partial(ImageRequest, prompt="a fox on a blue background", width=64, height=64, steps=12, seed=3)


@pytest.fixture(scope="session")
def video_engine() -> VideoEngine:
    return VideoEngine(load_model("demo-svd", families=VIDEO_FAMILIES))


@pytest.fixture
def clip_of() -> Callable[..., VideoRequest]:
    """A `VideoRequest` with small defaults: a red square on blue."""
    picture = Image.new("RGB", (64, 64), (70, 130, 225))
    picture.paste((220, 60, 60), (20, 20, 44, 44))
    return partial(VideoRequest, picture=picture, width=64, height=64, frames=3, steps=10, seed=3)
