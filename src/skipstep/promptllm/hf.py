"""The engine for transformers folders: every family of adapters, batches whose rows differ, and 4-bit models."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from ..adapters import AdapterInfo, base_of_folder
from ..adapters.families import FAMILIES, PLAIN, PROMPTS
from ..errors import AdapterError, MissingExtraError, ModelLoadError, OptionError, PromptEngineError
from .chat import template, template_for
from .engine import Answer, Engine, Piece, Question
from .hf_files import chat_source, folder_stamp, special_tokens
from .pieces import Put, read_until

if TYPE_CHECKING:
    from .hf_model import HfModel

MAX_ROWS = 8
DEVICES = ("auto", "cpu", "cuda", "mps")


class HfEngine(Engine):
    """A transformers folder with safetensors, loaded with the first question and kept until `close`.

    On a CPU it computes in float32, on a GPU in the type of its config. `quantize` is "nf4" or "int8", of
    bitsandbytes. One question or batch is answered at a time.

    Raises:
        ModelLoadError: if the folder is missing, or no causal language model.
        MissingExtraError: without transformers.
        OptionError: for an unknown device, quantization or template.
    """

    name = "hf"
    batch = MAX_ROWS
    families = frozenset(family.name for family in FAMILIES)

    def __init__(self, folder: Path, *, chat: str = "auto", device: str = "auto", quantize: str | None = None) -> None:
        if device not in DEVICES:
            raise OptionError(f"device must be one of {', '.join(DEVICES)}, got {device!r}")
        if quantize not in (None, "nf4", "int8"):
            raise OptionError(f"quantize must be nf4 or int8, got {quantize!r}")
        self._folder = Path(folder)
        try:
            self.base = base_of_folder(self._folder)
            version = metadata.version("transformers")
        except AdapterError as error:
            raise ModelLoadError(f"{self._folder} is no causal language model of transformers: {error}") from error
        except metadata.PackageNotFoundError as error:
            raise MissingExtraError("transformers folders need it: pip install 'skipstep[prompt]'") from error
        chosen = template_for(chat_source(self._folder)) if chat == "auto" else chat
        self._chat = template(chosen)
        self._device, self._quantize = device, quantize
        self._loaded: HfModel | None = None
        self._lock = Lock()
        self.model = self._folder.name
        self.special_tokens = special_tokens(self._folder)
        self.identity = f"hf {version} {folder_stamp(self._folder)} {chosen} {quantize} {device}"

    def generate(self, question: Question) -> Iterator[Piece]:
        """The answer as it is written; the same for the same question on one device.

        Raises:
            PromptEngineError: if the model does not load or answer, or the deadline passes.
            AdapterError: if an adapter is gone, or cannot be stacked with the others.
        """

        def write(put: Put) -> None:
            with self._lock:
                answer = self._model().answers([question], [put])[0]
            if isinstance(answer, PromptEngineError):
                raise answer

        yield from read_until(question.deadline, write)

    def generate_all(self, questions: Sequence[Question]) -> list[Answer | PromptEngineError]:
        """Up to eight answers at a time; those with other adapters than LoRA and rsLoRA by stacks that are the same."""
        answers: dict[int, Answer | PromptEngineError] = {}
        for places in _batches(questions):
            found = self._batch([questions[place] for place in places])
            answers.update(zip(places, found, strict=True))
        return [answers[place] for place in range(len(questions))]

    @property
    def loaded_bytes(self) -> int:
        """What parameters and buffers take."""
        loaded = self._loaded
        return loaded.bytes if loaded is not None else 0

    def forget(self, adapter: AdapterInfo) -> None:
        """Take an adapter off the model."""
        with self._lock:
            if self._loaded is not None:
                self._loaded.adapters.forget(adapter)

    def close(self) -> None:
        """Give the model's memory back."""
        with self._lock:
            if self._loaded is None:
                return
            self._loaded = None
            gc.collect()  # modules and hooks refer to each other
            import torch

            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _batch(self, questions: Sequence[Question]) -> list[Answer | PromptEngineError]:
        last = max(question.deadline for question in questions)
        answers: list[Answer | PromptEngineError] = []

        def write(_: Put) -> None:
            with self._lock:
                answers.extend(self._model().answers(questions, [_unread] * len(questions)))

        try:
            for _ in read_until(last, write):
                pass
        except PromptEngineError as error:
            return [error] * len(questions)
        return answers

    def _model(self) -> HfModel:
        from .hf_model import HfModel

        if self._loaded is None:
            self._loaded = HfModel(self._folder, self._chat, device=self._device, quantize=self._quantize)
        return self._loaded


def _batches(questions: Sequence[Question]) -> Iterator[list[int]]:
    """Places of questions that are answered at once: all with plain LoRAs or none, and those with the same others.

    One with a soft prompt is answered alone: PEFT leaves out where its words are, which padding moves.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for place, question in enumerate(questions):
        families = {stacked.info.family for stacked in question.adapters}
        key: tuple[object, ...] = tuple(stacked.identity for stacked in question.adapters)
        if families <= PLAIN:
            key = ()
        elif any(stacked.info.config["peft_type"] in PROMPTS for stacked in question.adapters):
            key = (place,)
        groups.setdefault(key, []).append(place)
    for places in groups.values():
        for start in range(0, len(places), MAX_ROWS):
            yield places[start : start + MAX_ROWS]


def _unread(_: Piece) -> bool:
    """Takes pieces that are read as a whole later."""
    return False
