"""Tiny random models and pipelines, seeded; see `tests/models.py`."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)
