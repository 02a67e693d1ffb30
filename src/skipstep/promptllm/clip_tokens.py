"""How many tokens CLIP reads in a prompt, and what of an addition still fits."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, ModelLoadError
from .answer import joined


class ClipTokens:
    """Counts with CLIP's own tokenizer: the one that ships with the demo models, or that of a folder.

    Raises:
        ModelLoadError: if the folder holds none.
        MissingExtraError: without transformers.
    """

    def __init__(self, folder: Path | None = None) -> None:
        try:
            from transformers import CLIPTokenizer
        except ImportError as error:
            raise MissingExtraError("counting CLIP's tokens needs transformers: pip install 'skipstep[cli]'") from error
        self._tokenizer: Any = None
        if folder is None:
            with resources.as_file(resources.files("skipstep") / "demo" / "tokenizer") as shipped:
                self._tokenizer = CLIPTokenizer.from_pretrained(shipped)
            return
        if not folder.is_dir():  # transformers would take it for a name on a hub
            raise ModelLoadError(
                f"{folder} is no folder with CLIP's tokenizer; give one with vocab.json and merges.txt"
            )
        try:
            self._tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, TypeError) as error:
            raise ModelLoadError(f"{folder} holds no tokenizer of CLIP's: {error}") from error

    def count(self, text: str) -> int:
        """The tokens of `text` with the two ends: 2 for an empty one."""
        return len(self._tokenizer(text, truncation=False, verbose=False)["input_ids"])

    def fitting(self, prompt: str, phrases: Sequence[str], limit: int) -> list[str]:
        """As many of the phrases, from the first on, as `limit` leaves room for behind `prompt`."""
        kept = list(phrases)
        while kept and self.count(joined(prompt, kept)) > limit:
            kept.pop()
        return kept
