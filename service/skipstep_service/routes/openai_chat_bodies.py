"""The body of POST /v1/chat/completions: OpenAI's fields, as far as a small model can do what they say."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from skipstep.promptllm.request import MAX_SEED

from ..jobs.bodies import IS_NUMBER, MAX_TOKENS, Body

MAX_CHARACTERS = 32_768
Label = Annotated[str, Field(max_length=512)]
Content = Annotated[str, Field(max_length=MAX_CHARACTERS)]
Zero = Annotated[float, Field(ge=0, le=0), IS_NUMBER]
Count = Annotated[int, Field(ge=1, le=MAX_TOKENS), IS_NUMBER]
Stop = Annotated[str, Field(min_length=1, max_length=64)]


class TextPart(Body):
    """A part of a message."""

    type: Literal["text"] = Field(description="There are no pictures and sounds.")
    text: Content = Field(description="What is said.")


class ChatMessage(Body):
    """A turn of the chat. Its text is data: control tokens of language models are taken out."""

    role: Literal["system", "developer", "user", "assistant"] = Field(description="developer is system.")
    content: Content | Annotated[list[TextPart], Field(min_length=1, max_length=64)] = Field(
        description="A text, or parts of one."
    )
    name: Label | None = Field(None, description="Not told to the model.")

    @property
    def text(self) -> str:
        """All of it."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class JsonSchema(Body):
    """What an answer in JSON looks like."""

    model_config = ConfigDict(serialize_by_alias=True)

    name: Label | None = Field(None, description="Not told to the model.")
    description: Annotated[str, Field(max_length=4000)] | None = Field(None, description="Not told to the model.")
    strict: bool | None = Field(None, description="It always is.")
    json_schema: dict[str, Any] = Field(
        alias="schema", description="Plain keywords; no patterns and no references. Its answer is whole or cut."
    )


class ResponseFormat(Body):
    """Whether the answer is text or JSON."""

    type: Literal["text", "json_object", "json_schema"] = Field(description="json_object is any object.")
    json_schema: JsonSchema | None = Field(None, description="With json_schema.")


class StreamOptions(Body):
    """What a stream has."""

    include_usage: bool | None = Field(None, description="A last chunk whose usage is null: tokens are not counted.")
    include_obfuscation: bool | None = Field(None, description="There is none.")


class ChatCompletion(Body):
    """What OpenAI's clients send."""

    model: Label = Field(description="The model's name, the engine's, or auto; and adapters, as NAME+photo@0.7.")
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=64)] = Field(
        description=f"The chat, of {MAX_CHARACTERS} characters at most."
    )
    max_tokens: Count | None = Field(None, description="That the model writes; 256 if not given.")
    max_completion_tokens: Count | None = Field(None, description="A newer name of max_tokens.")
    temperature: Annotated[float, Field(ge=0, le=2), IS_NUMBER] | None = Field(None, description="1 if not given.")
    top_p: Annotated[float, Field(ge=0.01, le=1), IS_NUMBER] | None = Field(None, description="1 if not given.")
    seed: Annotated[int, Field(ge=0, le=MAX_SEED), IS_NUMBER] | None = Field(
        None, description="Drawn at random if not given."
    )
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = Field(
        None, description="The answer ends before the first of them."
    )
    n: Annotated[int, Field(ge=1, le=1), IS_NUMBER] | None = Field(None, description="One answer.")
    response_format: ResponseFormat | None = Field(None, description="JSON, with the engines gguf, hf and openai.")
    stream: bool | None = Field(None, description="Answer with server-sent events.")
    stream_options: StreamOptions | None = Field(None, description="With stream.")
    presence_penalty: Zero | None = Field(None, description="Cannot be chosen.")
    frequency_penalty: Zero | None = Field(None, description="Cannot be chosen.")
    logprobs: Literal[False] | None = Field(None, description="There are none.")
    store: Literal[False] | None = Field(None, description="Nothing is kept.")
    user: Label | None = Field(None, description="Not kept.")
    safety_identifier: Label | None = Field(None, description="Not kept.")
    metadata: dict[Label, Label] | None = Field(None, description="Not kept.")

    @property
    def stops(self) -> tuple[str, ...]:
        """All of them."""
        return () if self.stop is None else (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
