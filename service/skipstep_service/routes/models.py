"""What clients may ask for: models, LoRAs, presets, plans and compilers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from skipstep.engine.models import DEMO_GUIDANCE, GUIDANCE
from skipstep.engine.samplers import SAMPLERS
from skipstep.plan.presets import PRESETS

from ..engines.asked import USUAL, plan_names
from ..keys import needs
from .openai_chat_questions import chat_models
from .refusals import refusals

router = APIRouter(prefix="/v1", tags=["models"], dependencies=[Depends(needs("jobs"))], responses=refusals(401, 403))


class OpenAIModel(BaseModel):
    """A model as OpenAI's clients read it."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(0, description="Not known.")
    owned_by: str = "skipstep"


class ModelAnswer(BaseModel):
    """A model."""

    name: str = Field(description="What jobs name it by.")
    kind: Literal["image", "video"] = Field(description="The kind of job that it is for.")
    family: str = Field(description="sdxl, sd15 or svd.")
    guidance_scale: float = Field(description="Its usual guidance.")


class ModelList(BaseModel):
    """The models; the first of a kind is taken where a job names none."""

    models: list[ModelAnswer] = Field(description="Those of this server.")
    loras: list[str] = Field(description="What jobs may name in `loras`.")
    object: Literal["list"] = "list"
    data: list[OpenAIModel] = Field(description="The same and what chats may name, for OpenAI's clients.")


class AccelerationAnswer(BaseModel):
    """What an acceleration object may name."""

    presets: list[str] = Field(description="By the names that jobs use.")
    usual: str = Field(description="The preset of jobs that name nothing.")
    plans: list[str] = Field(description="Those of the server's folder.")
    samplers: list[str] = Field(description="What jobs may name as `sampler`.")
    compiler: str = Field(description="The server's own.")
    step_batching: bool = Field(description="Whether jobs join a batch that runs.")


@router.get("/models", response_model=ModelList)
async def list_models(request: Request) -> ModelList:
    """Models and LoRAs."""
    settings, families = request.app.state.settings, request.app.state.catalog.families
    models = [
        ModelAnswer(
            name=name,
            kind="video" if family == "svd" else "image",
            family=family,
            guidance_scale=(DEMO_GUIDANCE if settings.models.get(name, "").startswith("demo") else GUIDANCE)[family],
        )
        for name, family in families.items()
    ]
    prompting = request.app.state.prompting
    chats = [] if prompting is None else chat_models(prompting)
    data = [OpenAIModel(id=name) for name in [*families, *chats]]
    return ModelList(models=models, loras=sorted(settings.loras), data=data)


@router.get("/acceleration", response_model=AccelerationAnswer)
def list_acceleration(request: Request) -> AccelerationAnswer:
    """Presets, plans, samplers and the compiler."""
    settings = request.app.state.settings
    return AccelerationAnswer(
        presets=list(PRESETS["sdxl"]),  # every family has the same
        usual=USUAL,
        plans=plan_names(None if settings.plans is None else Path(settings.plans)),
        samplers=list(SAMPLERS),
        compiler=settings.compiler,
        step_batching=settings.step_batching,
    )
