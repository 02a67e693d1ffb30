"""The engine for GGUF files: llama.cpp in this process, by way of xllamacpp."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from threading import Lock
from typing import Any

from ..errors import MissingExtraError, ModelLoadError, OptionError, PromptEngineError
from .chat import template, template_for
from .engine import Piece, Question
from .gguf_header import read_header
from .pieces import Put, read_until

SAMPLED = 2**20  # bytes of each end of a model's file
RANDOM_SEED = 2**32 - 1  # what llama.cpp takes for "draw one"


class GgufEngine:
    """A GGUF file, loaded with the first question and kept until `close`.

    `chat` is a template of `skipstep.promptllm.chat`, or "auto" for the one that the file's own looks like.
    llama.cpp opens an HTTP listener on 127.0.0.1 beside it, which is locked with a random key.

    Raises:
        ModelLoadError: if the file is missing or no GGUF file.
        MissingExtraError: without xllamacpp.
        OptionError: for a number out of range, or an unknown template.
    """

    name = "gguf"

    def __init__(
        self, path: Path, *, chat: str = "auto", threads: int = 1, context: int = 2048, gpu_layers: int = 0
    ) -> None:
        for option, value, least in (("threads", threads, 1), ("context", context, 256), ("gpu_layers", gpu_layers, 0)):
            if value < least:
                raise OptionError(f"{option} must be {least} or more, got {value}")
        self._path = Path(path)
        self._header = read_header(self._path)
        chosen = template_for(self._header.chat_template) if chat == "auto" else chat
        self._chat = template(chosen)
        self._threads, self._context, self._gpu_layers = threads, context, gpu_layers
        self._server: Any = None
        self._lock = Lock()
        self.model = self._path.name
        self.special_tokens = self._header.special_tokens
        self.identity = f"gguf {_xllamacpp_version()} {_fingerprint(self._path)} {chosen} {context} {gpu_layers}"

    def generate(self, question: Question) -> Iterator[Piece]:
        """The answer as it is written; the same for the same question.

        Raises:
            PromptEngineError: if the model does not load or answer, or the deadline passes.
        """

        def write(put: Put) -> None:
            def take(chunk: Any) -> bool:
                return put(_piece(chunk))

            returned = self._loaded().handle_completions(self._body(question), take)
            if returned is not None:  # it streams everything but what goes wrong before the first token
                put(_piece(returned))

        yield from read_until(question.deadline, write)

    def close(self) -> None:
        """Give the model's memory back."""
        with self._lock:
            self._server = None

    def _body(self, question: Question) -> dict[str, Any]:
        text = self._chat.render(question.messages)
        if self._header.adds_bos:
            text = text.removeprefix(self._header.bos)
        body: dict[str, Any] = {
            "prompt": text,
            "stream": True,
            "max_tokens": question.max_tokens,
            "seed": question.seed % RANDOM_SEED,
            "temperature": question.temperature,
            "top_p": question.top_p,
            "repeat_penalty": question.repeat_penalty,
            "stop": list(self._chat.stop),
            "cache_prompt": False,  # a reused prefix is computed in other batches, and rounds otherwise
        }
        if question.schema is not None:
            body["json_schema"] = question.schema
        return body

    def _loaded(self) -> Any:
        import xllamacpp

        with self._lock:
            if self._server is None:
                parameters = xllamacpp.CommonParams()
                parameters.model.path = str(self._path)
                parameters.n_ctx = self._context
                parameters.n_parallel = 1
                parameters.n_gpu_layers = self._gpu_layers
                parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = self._threads
                parameters.api_keys = [secrets.token_urlsafe(32)]
                parameters.verbosity = -1
                parameters.warmup = False
                try:
                    self._server = xllamacpp.Server(parameters)
                except RuntimeError as error:
                    raise PromptEngineError(f"llama.cpp cannot load {self._path}: {error}") from error
            return self._server


def _piece(chunk: Any) -> Piece:
    error = chunk.get("error")
    if error is not None:
        raise PromptEngineError(f"llama.cpp refused the question: {error.get('message', error)}")
    choices = chunk.get("choices") or [{}]
    return Piece(text=str(choices[0].get("text") or ""), cut=choices[0].get("finish_reason") == "length")


def _xllamacpp_version() -> str:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version("xllamacpp")
    raise MissingExtraError("GGUF models need xllamacpp: pip install 'skipstep[prompt]'")


def _fingerprint(path: Path) -> str:
    """A hash of the size, the time and both ends of a file: a whole one of some gigabytes takes too long to read."""
    try:
        state = path.stat()
        digest = hashlib.sha256(f"{state.st_size} {state.st_mtime_ns} ".encode())
        with path.open("rb") as file:
            digest.update(file.read(SAMPLED))
            file.seek(max(state.st_size - SAMPLED, 0))
            digest.update(file.read(SAMPLED))
    except OSError as error:
        raise ModelLoadError(f"cannot read the model {path}: {error.strerror or error}") from error
    return digest.hexdigest()
