"""Fixtures shared by all tests; the models themselves are built in `tests/models.py`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from models import TinyUNet, tiny_unet


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the slow tests too")
    parser.addoption("--quick", action="store_true", help="of the tests with a real ComfyUI, run some parameters only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what cannot or need not run here, and say why."""
    no_gpu = pytest.mark.skip(reason="needs a CUDA device")
    no_oneflow = pytest.mark.skip(
        reason="needs a OneFlow environment: cd tools && python -m oneflow_env FOLDER, then set SKIPSTEP_ONEFLOW_PYTHON"
    )
    not_asked = pytest.mark.skip(reason="slow; `make test-all` runs it")
    for item in items:
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(no_gpu)
        # the marker: keywords are the names of parameters, too
        if item.get_closest_marker("oneflow") is not None and not os.environ.get("SKIPSTEP_ONEFLOW_PYTHON"):
            item.add_marker(no_oneflow)
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(not_asked)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", params=["sdxl", "sd15", "svd"])
def tiny(request: pytest.FixtureRequest) -> TinyUNet:
    """Each of the three shapes of UNet; shared, so not to be changed."""
    return tiny_unet(request.param)


@pytest.fixture(scope="session")
def tiny_sdxl() -> TinyUNet:
    """The SDXL shape; shared, so not to be changed."""
    return tiny_unet("sdxl")


@pytest.fixture
def no_grad() -> Iterator[None]:
    """As the pipelines run."""
    with torch.no_grad():
        yield
