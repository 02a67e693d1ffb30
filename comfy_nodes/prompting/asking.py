"""Asks a PROMPT_LLM, and lets ComfyUI's user cancel meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from functools import partial
from threading import Event, Thread

from skipstep.errors import PromptEngineError
from skipstep.promptllm import ExpandRequest, Expansion

from .llm import PromptLLM
from .opening import packages_told

ORIGINAL, RAISE = "original", "raise"
ON_ERROR = (ORIGINAL, RAISE)
POLL_S = 0.1

OnText = Callable[[str], None]


class Failures:
    """How many questions had no answer since ComfyUI was started.

    It is part of the nodes' fingerprints: ComfyUI keeps what a node gave, and what failed is to be asked again.
    """

    count = 0


def ask(llm: PromptLLM, request: ExpandRequest, *, on_error: str) -> Expansion:
    """One prompt, expanded.

    Raises:
        PromptEngineError: if nothing was added and `on_error` is "raise".
        AdapterError, MissingExtraError: as the engine.
    """
    _make_room(llm)
    spoken: list[str] = []
    (made,) = _watched(lambda on_text: [llm.expander.expand(request, _both(spoken.append, on_text))])
    if not "".join(spoken).strip():  # a text that was of no use will be the same again
        _note(made, request)
    return _checked(made, on_error)


def ask_all(llm: PromptLLM, requests: Sequence[ExpandRequest], *, on_error: str) -> list[Expansion]:
    """Prompts, expanded at once as far as the engine can, with a progress bar.

    Raises:
        PromptEngineError, AdapterError, MissingExtraError: as `ask`.
    """
    from comfy.utils import ProgressBar

    bar = ProgressBar(len(requests))
    size = llm.expander.engine.batch
    made: list[Expansion] = []
    for start in range(0, len(requests), size):
        part = requests[start : start + size]
        made += _part(llm, part, on_error) if size > 1 else [ask(llm, part[0], on_error=on_error)]
        bar.update(len(part))
    return made


def _part(llm: PromptLLM, requests: Sequence[ExpandRequest], on_error: str) -> list[Expansion]:
    _make_room(llm)
    found = _watched(lambda _: llm.expander.expand_all(requests))
    for made, request in zip(found, requests, strict=True):
        _note(made, request)
    return [_checked(made, on_error) for made in found]


def _make_room(llm: PromptLLM) -> None:
    """Have ComfyUI unload others if the model needs their memory, and count this one among the loaded."""
    import comfy.model_management as management

    if llm.patcher is not None:
        management.load_models_gpu([llm.patcher])


def _watched(work: Callable[[OnText], list[Expansion]]) -> list[Expansion]:
    """What `work` returns, in a thread that nobody waits for once the user cancels; what it is given stops it then."""
    import comfy.model_management as management

    cancelled = Event()
    result: Future[list[Expansion]] = Future()
    Thread(target=_run, args=(result, partial(work, partial(_stop, cancelled))), daemon=True).start()
    try:
        while not wait([result], timeout=POLL_S).done:
            management.throw_exception_if_processing_interrupted()
    except management.InterruptProcessingException:
        cancelled.set()
        raise
    with packages_told():
        return result.result()


def _run(result: Future[list[Expansion]], work: Callable[[], list[Expansion]]) -> None:
    try:
        result.set_result(work())
    except BaseException as error:  # noqa: BLE001  raised where the result is read
        result.set_exception(error)


def _stop(cancelled: Event, _: str) -> None:
    if cancelled.is_set():
        raise PromptEngineError("cancelled")


def _both(first: OnText, second: OnText) -> OnText:
    def on_text(text: str) -> None:
        first(text)
        second(text)

    return on_text


def _note(made: Expansion, request: ExpandRequest) -> None:
    """Count a failure of the engine; a prompt that is too long by itself is none, and stays too long."""
    if made.reason is not None and made.clip_tokens <= request.max_clip_tokens:
        Failures.count += 1


def _checked(made: Expansion, on_error: str) -> Expansion:
    if made.reason is not None and on_error == RAISE:
        raise PromptEngineError(f"the prompt was not expanded: {made.reason}")
    return made
