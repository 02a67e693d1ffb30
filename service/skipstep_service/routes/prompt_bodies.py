"""Bodies of /v1/prompt."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from ..answers import ExpansionAnswer
from ..jobs.bodies import ADAPTER, IS_NUMBER, Body, Expand, Text

MAX_BATCH = 64
# names of folders under the operator's own, none of which begins with a dot
FOLDER = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(/[A-Za-z0-9][A-Za-z0-9._-]{0,63}){0,3}$"
Folder = Annotated[str, Field(pattern=FOLDER, description="Under the server's folder of adapters, as styles/photo.")]


class PromptToExpand(Expand):
    """A prompt, and what is to be added to it."""

    prompt: Text = Field(description="What is to be seen.")
    timeout_s: Annotated[float, Field(ge=0.1, le=3600), IS_NUMBER] | None = Field(
        None, description="Seconds after which the prompt is given back as it was; the server's own at most."
    )


class PromptExpansion(PromptToExpand):
    """POST /v1/prompt/expand."""

    stream: bool = Field(False, description="Answer with server-sent events.")


class ExpansionBatch(Body):
    """POST /v1/prompt/expand_batch."""

    requests: Annotated[list[PromptToExpand], Field(min_length=1, max_length=MAX_BATCH)] = Field(
        description="Each is answered as it would be alone."
    )


class AdapterFolder(Body):
    """POST /v1/prompt/adapters/inspect."""

    folder: Folder


class NewAdapter(AdapterFolder):
    """POST /v1/prompt/adapters."""

    name: Annotated[str, Field(pattern=ADAPTER)] | None = Field(
        None, description="What requests name it by; the folder's own if not given."
    )
    replace: bool = Field(False, description="Put it in place of one that has the name.")


class ExpansionList(BaseModel):
    """Expansions in the order of the requests."""

    expansions: list[ExpansionAnswer] = Field(description="One for each request.")


class PromptModel(BaseModel):
    """The language model."""

    name: str = Field(description="What chats name it by.")
    engine: str = Field(description="gguf, hf, openai or echo.")
    state: str = Field(description="`loaded`, `not loaded`, or `hangs`.")
    loaded_bytes: int = Field(description="What it takes in memory now.")
    families: list[str] = Field(description="Families of adapters that it takes; none if it takes no adapters.")
    adapters: list[str] = Field(description="Names of its adapters.")


class PromptModelList(BaseModel):
    """The language model, if there is one."""

    models: list[PromptModel] = Field(description="One at most.")


class PresetAnswer(BaseModel):
    """How prompts of a style are expanded."""

    name: str = Field(description="What requests name it by.")
    title: str = Field(description="For people.")
    negative: str = Field(description="Its negative prompt.")


class PresetList(BaseModel):
    """Presets that can be named; none where there is no prompt model."""

    presets: list[PresetAnswer] = Field(description="By name.")


class ModuleAnswer(BaseModel):
    """A layer that an adapter changes."""

    name: str = Field(description="Of the layer in the model.")
    rank: int | None = Field(description="Of the change, where the family has ranks.")
    scale: float | None = Field(description="What the change is multiplied with.")


class AdapterAnswer(BaseModel):
    """An adapter that was found to be sound."""

    name: str = Field(description="What requests name it by.")
    family: str = Field(description="As LoRA or DoRA.")
    layout: str = Field(description="peft, kohya or diffusers.")
    ranks: list[int] = Field(description="All that its modules have.")
    modules: list[ModuleAnswer] = Field(description="The layers that it changes.")
    parameters: int = Field(description="Numbers in its weights.")
    bytes: int = Field(description="Of its weights.")
    sha256: str = Field(description="Of its weights.")
    warnings: list[str] = Field(description="What could not be checked.")


class AdapterList(BaseModel):
    """Adapters of the prompt model."""

    adapters: list[AdapterAnswer] = Field(description="In the order in which they came.")


class Unloaded(BaseModel):
    """What was given back."""

    freed_bytes: int = Field(description="0 if the model was not loaded.")
