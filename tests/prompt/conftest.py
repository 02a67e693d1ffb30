"""What the tests of prompts share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_folder import tiny_base, tiny_gguf

from skipstep.promptllm import ClipTokens, HfEngine, Preset, load_preset


@pytest.fixture(scope="session")
def clip() -> ClipTokens:
    """CLIP's tokenizer, loaded once."""
    return ClipTokens()


@pytest.fixture(scope="session")
def photo() -> Preset:
    return load_preset("photo")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transformers folder; shared, so not to be changed."""
    return tiny_base(tmp_path_factory.mktemp("prompt") / "tiny", hidden=64, context=2048)


@pytest.fixture(scope="session")
def tiny_file(tiny_model: Path) -> Path:
    """The same model as a GGUF file."""
    return tiny_gguf(tiny_model, tiny_model.with_suffix(".gguf"))


@pytest.fixture
def hf(tiny_model: Path) -> Iterator[HfEngine]:
    """An engine of its own for each test."""
    engine = HfEngine(tiny_model, device="cpu")
    yield engine
    engine.close()
