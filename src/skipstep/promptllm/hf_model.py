"""A transformers model in memory, which answers several questions at once."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import PromptEngineError
from .chat import ChatTemplate
from .engine import Answer, Question
from .hf_row import Row
from .hf_sampling import Grammars, RowEnds, RowSampler
from .peft_stack import PeftStack
from .pieces import Put


class HfModel:
    """Model, tokenizer and the adapters that are on it.

    Raises:
        PromptEngineError: if the folder does not load.
        MissingExtraError: without what a quantization needs.
    """

    def __init__(self, folder: Path, chat: ChatTemplate, *, device: str, quantize: str | None) -> None:
        from transformers import AutoTokenizer

        device = _device(device)
        with _silently():
            try:
                self._tokenizer = AutoTokenizer.from_pretrained(
                    str(folder), local_files_only=True, trust_remote_code=False
                )
                self._model = _model(folder, device, quantize)
            except (OSError, ValueError, KeyError, RuntimeError) as error:  # transformers raises all
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise PromptEngineError(f"transformers cannot load {folder}: {reason}") from error
        self._chat = chat
        self._device = device
        self._context = int(getattr(self._model.config, "max_position_embeddings", 0)) or 2048
        self._ends = _ends(self._model, self._tokenizer, chat)
        self._grammars = Grammars(self._tokenizer)
        self.bytes = int(self._model.get_memory_footprint())
        self.adapters = PeftStack(self._model)

    def answers(self, questions: Sequence[Question], puts: Sequence[Put]) -> list[Answer | PromptEngineError]:
        """An answer to each, as it would be alone but for rounding; pieces go to `puts` as they come.

        Questions with the same adapters share them; else each has LoRAs of its own, or none.

        Raises:
            AdapterError: if an adapter cannot be loaded, or not be stacked, or not be one row's alone.
        """
        tokens = [self._tokens(question) for question in questions]
        rows = [self._row(question, len(own), put) for question, own, put in zip(questions, tokens, puts, strict=True)]
        for row in rows:
            if row.own + row.question.max_tokens > self._context:
                limit = f"{row.own} tokens and {row.question.max_tokens} for the answer, of {self._context}"
                row.fail(f"the question is too long for the model: {limit}")
            elif time.monotonic() > row.question.deadline:
                row.fail("the model was busy until the deadline")
        if not all(row.done for row in rows):
            self._run(rows, tokens)
        return [row.answer() for row in rows]

    def _run(self, rows: Sequence[Row], tokens: Sequence[list[int]]) -> None:
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        ids, mask = self._padded(tokens)
        grammars = [self._grammars.matcher(row.question) for row in rows]
        config = GenerationConfig(
            max_new_tokens=max(row.question.max_tokens for row in rows),
            do_sample=False,
            eos_token_id=sorted(self._ends) or None,
            pad_token_id=self._pad(),
        )
        with torch.no_grad(), _silently(), self._adapted([row.question for row in rows]) as (model, names):
            model.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=config,
                logits_processor=LogitsProcessorList([RowSampler(rows, grammars)]),
                stopping_criteria=StoppingCriteriaList([RowEnds(rows)]),
                **({} if names is None else {"adapter_names": names}),
            )

    @contextmanager
    def _adapted(self, questions: Sequence[Question]) -> Iterator[tuple[Any, list[str] | None]]:
        stacks = [question.adapters for question in questions]
        if all(stack == stacks[0] for stack in stacks):
            with self.adapters.used(stacks[0]) as model:
                yield model, None
        else:
            with self.adapters.rows(stacks) as rows:
                yield rows

    def _tokens(self, question: Question) -> list[int]:
        text = self._chat.render(question.messages)
        tokens = list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        first = list(self._tokenizer("")["input_ids"])[:1]  # of models whose texts begin with a token
        return tokens if tokens[:1] == first or first == [self._tokenizer.eos_token_id] else first + tokens

    def _row(self, question: Question, own: int, put: Put) -> Row:
        return Row(question, self._tokenizer, own=own, ends=self._ends, stop=self._chat.stop, put=put)

    def _padded(self, tokens: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        """Token ids and mask (rows, tokens) with the ends in one column."""
        longest = max(map(len, tokens))
        ids = [[self._pad()] * (longest - len(own)) + own for own in tokens]
        mask = [[0] * (longest - len(own)) + [1] * len(own) for own in tokens]
        return torch.tensor(ids, device=self._device), torch.tensor(mask, device=self._device)

    def _pad(self) -> int:
        return int(self._tokenizer.pad_token_id or 0)


def _model(folder: Path, device: str, quantize: str | None) -> Any:
    if quantize is not None:
        from ..adapters.quantized import load_quantized

        return load_quantized(folder, quantize, device=device)
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(
        str(folder),
        dtype=torch.float32 if device == "cpu" else "auto",
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
    )
    return model.to(device).eval()


def _ends(model: Any, tokenizer: Any, chat: ChatTemplate) -> frozenset[int]:
    """The tokens that end an answer: the model's, and those of the template that are one token."""
    found = {tokenizer.eos_token_id}
    configured = model.generation_config.eos_token_id
    found |= set(configured) if isinstance(configured, list) else {configured}
    vocabulary = tokenizer.get_added_vocab()
    found |= {vocabulary.get(text) for text in chat.stop}
    return frozenset(int(token) for token in found if token is not None)


def _device(name: str) -> str:
    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@contextmanager
def _silently() -> Iterator[None]:
    """Without transformers' bars and advice, which are for people at a terminal."""
    from transformers.utils import logging

    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
