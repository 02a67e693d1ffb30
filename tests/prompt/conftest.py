"""What the tests of prompts share."""

from __future__ import annotations

import pytest

from skipstep.promptllm import ClipTokens, Preset, load_preset


@pytest.fixture(scope="session")
def clip() -> ClipTokens:
    """CLIP's tokenizer, loaded once."""
    return ClipTokens()


@pytest.fixture(scope="session")
def photo() -> Preset:
    return load_preset("photo")
