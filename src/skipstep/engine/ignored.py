"""Says what of a request will have no effect, before the picture is drawn."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

from ..errors import DemoVocabularyWarning, IgnoredInputWarning
from .models import LoadedModel
from .request import ImageRequest

NAMED_WORDS = 10


def warn_of_ignored_input(model: LoadedModel, request: ImageRequest) -> None:
    """Warn of all that `ignored_input` finds."""
    for warning in ignored_input(model, request):
        warnings.warn(warning, stacklevel=3)


def ignored_input(model: LoadedModel, request: ImageRequest) -> Iterator[UserWarning]:
    """A prompt longer than the text encoders read, a negative prompt without guidance, and unknown words."""
    tokenizer = model.pipe.tokenizer
    for name, text in (("prompt", request.prompt), ("negative prompt", request.negative_prompt)):
        tokens = len(tokenizer(text, truncation=False, verbose=False)["input_ids"])
        limit = tokenizer.model_max_length
        if tokens > limit:
            yield IgnoredInputWarning(
                f"the {name} has {tokens} tokens and the model reads the first {limit}; shorten it"
            )
    if request.negative_prompt and request.guidance_scale is not None and request.guidance_scale <= 1:
        yield IgnoredInputWarning(
            f"the negative prompt has no effect at guidance {request.guidance_scale:g}; use more than 1"
        )
    if model.is_demo:
        yield from _unknown_words(f"{request.prompt} {request.negative_prompt}")


def _unknown_words(text: str) -> Iterator[UserWarning]:
    from ..demo import unknown_words

    words = unknown_words(text)
    if words:
        more = f" and {len(words) - NAMED_WORDS} more words" if len(words) > NAMED_WORDS else ""
        named = ", ".join(words[:NAMED_WORDS])
        yield DemoVocabularyWarning(
            f"the demo model does not know: {named}{more}; `skipstep models` lists what it can draw"
        )
