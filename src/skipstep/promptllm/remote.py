"""The engine for servers that speak OpenAI's chat completions: vLLM, SGLang, Ollama, llama-server and others."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from ..errors import MissingExtraError, OptionError, PromptEngineError
from .engine import Engine, Piece, Question
from .pieces import Put, read_until
from .server_answer import ServerAnswer

KEY_VARIABLE = "SKIPSTEP_PROMPT_API_KEY"
CONNECT_S, READ_S = 5.0, 30.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class RemoteEngine(Engine):
    """A model on a server, at `URL/v1/chat/completions`.

    The key is read from the environment variable SKIPSTEP_PROMPT_API_KEY with each question, and never written
    anywhere. Redirects are not followed, so that it goes to no other server.

    Raises:
        OptionError: if the URL is none of http or https, or holds a name and password.
        MissingExtraError: without httpx.
    """

    name = "openai"

    def __init__(self, url: str, *, model: str) -> None:
        try:
            import httpx  # noqa: F401  asked for here, so that it is missed before a question is asked
        except ImportError as error:
            raise MissingExtraError("servers need httpx: pip install 'skipstep[prompt]'") from error
        if not model.strip():
            raise OptionError(f"model must be the name of a model on the server, got {model!r}")
        self._url = _endpoint(url)
        self._local = urlsplit(self._url).hostname in LOOPBACK
        self.model = model
        self.identity = f"openai {self._url} {model}"

    def generate(self, question: Question) -> Iterator[Piece]:
        """The answer as it comes.

        Raises:
            PromptEngineError: if the server cannot be reached, answers something else, too much, or too late.
        """
        loop = asyncio.new_event_loop()
        task: asyncio.Task[None] | None = None

        def write(put: Put) -> None:
            nonlocal task
            try:
                task = loop.create_task(self._ask(question, put))
                with suppress(asyncio.CancelledError):
                    loop.run_until_complete(task)
            finally:
                loop.run_until_complete(loop.shutdown_asyncgens())
                loop.close()

        def stop() -> None:
            with suppress(RuntimeError):  # the loop is closed: it is through
                loop.call_soon_threadsafe(lambda: task.cancel() if task else None)

        yield from read_until(question.deadline, write, stop=stop)

    async def _ask(self, question: Question, put: Put) -> None:
        import httpx

        left = max(question.deadline - time.monotonic(), 0.001)
        timeout = httpx.Timeout(min(READ_S, left), connect=min(CONNECT_S, left))
        headers = {"Accept": "text/event-stream, application/json", "Accept-Encoding": "identity", **_key()}
        try:
            async with (
                httpx.AsyncClient(timeout=timeout, follow_redirects=False, trust_env=not self._local) as client,
                client.stream("POST", self._url, json=self._body(question), headers=headers) as response,
            ):
                answer = ServerAnswer(response.status_code, response.headers)
                async for data in response.aiter_raw():
                    for piece in answer.feed(data):
                        if put(piece):
                            return
                    if answer.ended:
                        return
                for piece in answer.finish():
                    put(piece)
        except httpx.TimeoutException as error:
            raise PromptEngineError(f"the server did not answer in time ({type(error).__name__})") from error
        except httpx.HTTPError as error:
            raise PromptEngineError(f"the server cannot be asked: {type(error).__name__}: {error}") from error

    def _body(self, question: Question) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": message.role, "content": message.text} for message in question.messages],
            "stream": True,
            "max_tokens": question.max_tokens,
            "temperature": question.temperature,
            "top_p": question.top_p,
            "seed": question.seed,
        }
        if question.schema is not None:
            schema = {"name": "prompt", "schema": question.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body


def _endpoint(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise OptionError(f"url must be http://HOST:PORT or https://..., got {url!r}")
    if parts.username or parts.password:
        raise OptionError(f"url must hold no name or password; put a key into {KEY_VARIABLE}")
    base = url.rstrip("/")
    return f"{base if base.endswith('/v1') else f'{base}/v1'}/chat/completions"


def _key() -> dict[str, str]:
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        return {}
    if not key.isascii() or not key.isprintable():
        raise PromptEngineError(f"the key in {KEY_VARIABLE} has characters that cannot be in a header")
    return {"Authorization": f"Bearer {key}"}
