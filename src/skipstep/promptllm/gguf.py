"""The engine for GGUF files: llama.cpp in this process, by way of xllamacpp."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from threading import Lock
from typing import Any

from ..adapters import AdapterInfo
from ..adapters.lora_matrices import FOLDABLE
from ..errors import MissingExtraError, OptionError, PromptEngineError
from .chat import template, template_for
from .engine import Engine, Piece, Question
from .file_stamp import file_stamp
from .gguf_adapters import GgufAdapters, scales
from .gguf_base import base_of_gguf
from .gguf_header import read_header
from .pieces import Put, read_until

ALL_LAYERS = 999
RANDOM_SEED = 2**32 - 1  # what llama.cpp takes for "draw one"


class GgufEngine(Engine):
    """A GGUF file, loaded with the first question and kept until `close`.

    `chat` is a template of `skipstep.promptllm.chat`, or "auto" for the one that the file's own looks like.
    llama.cpp opens an HTTP listener on 127.0.0.1 beside it, which is locked with a random key.

    Raises:
        ModelLoadError: if the file is missing or no GGUF file.
        MissingExtraError: without xllamacpp.
        OptionError: for a number out of range, or an unknown template.
    """

    name = "gguf"
    families = frozenset(FOLDABLE)

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
        self._running: Running | None = None
        self._adapters = GgufAdapters()
        self._lock = Lock()
        self.base = base_of_gguf(self._header)
        self._size = self._path.stat().st_size
        self.model = self._path.name
        self.special_tokens = self._header.special_tokens
        self.identity = f"gguf {_xllamacpp_version()} {file_stamp(self._path)} {chosen} {context} {gpu_layers}"

    def generate(self, question: Question) -> Iterator[Piece]:
        """The answer as it is written; the same for the same question.

        Raises:
            PromptEngineError: if the model does not load or answer, or the deadline passes.
        """

        def write(put: Put) -> None:
            failed: list[PromptEngineError] = []

            def take(chunk: Any) -> bool:
                try:
                    return put(_piece(chunk))
                except PromptEngineError as error:  # llama.cpp's thread would swallow it
                    failed.append(error)
                    return True

            running = self._loaded(question)
            body = self._body(question, running)
            returned = running.server.handle_completions(body, take)
            if returned is not None:  # it streams everything but what goes wrong before the first token
                put(_piece(returned))
            if failed:
                raise failed[0]

        yield from read_until(question.deadline, write)

    @property
    def loaded_bytes(self) -> int:
        """The size of the file while it is loaded."""
        return self._size if self._running is not None else 0

    def forget(self, adapter: AdapterInfo) -> None:
        """Give an adapter's memory back: llama.cpp starts anew with the next question."""
        with self._lock:
            if self._adapters.forget(adapter):
                self._running = None

    def close(self) -> None:
        """Give the model's memory back."""
        with self._lock:
            self._running = None

    def _body(self, question: Question, running: Running) -> dict[str, Any]:
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
        if running.adapters:
            body["lora"] = scales(running.adapters, question.adapters)
        if question.schema is not None:
            body["json_schema"] = question.schema
        return body

    def _loaded(self, question: Question) -> Running:
        with self._lock:
            if self._adapters.use(question.adapters):
                self._running = None
            if self._running is None:
                with self._adapters.files(self.base) as files:
                    self._running = Running(server=self._server(files), adapters=self._adapters.order)
            return self._running

    def _server(self, adapters: Sequence[Path]) -> Any:
        import xllamacpp

        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(self._path)
        parameters.n_ctx = self._context
        parameters.n_parallel = 1
        parameters.n_gpu_layers = self._gpu_layers
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = self._threads
        parameters.api_keys = [secrets.token_urlsafe(32)]
        parameters.verbosity = -1
        parameters.warmup = False
        parameters.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(file), 0.0) for file in adapters]
        try:
            return xllamacpp.Server(parameters)
        except RuntimeError as error:
            raise PromptEngineError(f"llama.cpp cannot load {self._path}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Running:
    """llama.cpp with a model, and the identities of the adapters in the order of their ids."""

    server: Any
    adapters: tuple[str, ...]


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


def gpu_name() -> str | None:
    """The first GPU that llama.cpp was built for and finds.

    Raises:
        MissingExtraError: without xllamacpp.
    """
    _xllamacpp_version()
    import xllamacpp

    found = (device for device in xllamacpp.get_device_info() if "GPU" in str(device.get("type")).upper())
    return next((str(device.get("name")) for device in found), None)
