"""/v1/prompt: prompts that a language model adds to."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Request, Response
from fastapi.responses import JSONResponse

from skipstep.promptllm import ExpandRequest

from ..answers import ExpansionAnswer
from ..errors import PromptFailedError
from ..jobs.expansion import told
from ..keys import needs
from ..prompts.line import Turn
from ..prompts.prompting import Prompting
from .feed import Feed
from .prompt_bodies import (
    ExpansionBatch,
    ExpansionList,
    PresetAnswer,
    PresetList,
    PromptExpansion,
    PromptModel,
    PromptModelList,
)
from .prompt_streams import ExpansionStream, given_back
from .prompting import asked_of, made_in, prompting_of
from .refusals import refusals

router = APIRouter(
    prefix="/v1/prompt", tags=["prompt"], dependencies=[Depends(needs("jobs"))], responses=refusals(401, 403)
)
_ASKED = refusals(400, 404, 408, 413, 422, 429, 503)


@router.get("/models", response_model=PromptModelList)
def list_prompt_models(request: Request) -> PromptModelList:
    """The language model, and what it takes in memory."""
    found: Prompting | None = request.app.state.prompting
    return PromptModelList(models=[] if found is None else [_model(found)])


@router.get("/presets", response_model=PresetList)
def list_prompt_presets(request: Request) -> PresetList:
    """What requests may name as `preset`."""
    found: Prompting | None = request.app.state.prompting
    presets = {} if found is None else found.presets
    return PresetList(
        presets=[
            PresetAnswer(name=name, title=preset.title, negative=preset.negative) for name, preset in presets.items()
        ]
    )


@router.post(
    "/expand",
    response_model=ExpansionAnswer,
    response_description="The expansion. A stream has events `text` with `text`, what the model writes as it does; "
    "then `expansion`, which is the whole; then `done`.",
    responses={200: {"content": {"text/event-stream": {}}}, **_ASKED},
)
async def expand_prompt(request: Request, body: Annotated[PromptExpansion, Body()]) -> Response:
    """Have a prompt expanded. Whatever happens to the model, the answer is a prompt: the one that came and a `reason`
    where nothing was added. A client that leaves stops the model."""
    prompting = prompting_of(request)
    fields = body.model_dump()
    asked = asked_of(prompting, body.prompt, fields)
    if not body.stream:
        return JSONResponse((await _expanded(request, prompting.expand(asked), [asked], [fields]))[0])
    texts = Feed[str]()
    return ExpansionStream(prompting.expand(asked, texts.put), texts, asked, fields)


@router.post("/expand_batch", response_model=ExpansionList, responses=_ASKED)
async def expand_prompts(request: Request, body: Annotated[ExpansionBatch, Body()]) -> ExpansionList:
    """Have prompts expanded, at once where the model can. Others that ask have their turns in between."""
    prompting = prompting_of(request)
    fields = [one.model_dump() for one in body.requests]
    asked = [asked_of(prompting, one["prompt"], one) for one in fields]
    made: list[Any] = []
    for start in range(0, len(asked), prompting.engine.batch):
        part = slice(start, start + prompting.engine.batch)
        turn = prompting.expand_all(asked[part], is_first=start == 0)
        made += await _expanded(request, turn, asked[part], fields[part])
    return ExpansionList(expansions=made)


async def _expanded(request: Request, turn: Turn[Any], asked: list[ExpandRequest], fields: list[Any]) -> list[Any]:
    """What came of a turn; the prompts as they were where the model gave nothing."""
    try:
        made = await made_in(request, turn)
    except PromptFailedError as error:
        return [given_back(one, body, error.message) for one, body in zip(asked, fields, strict=True)]
    all_made = made if isinstance(made, list) else [made]
    return [told(one.prompt, expansion) for one, expansion in zip(asked, all_made, strict=True)]


def _model(prompting: Prompting) -> PromptModel:
    engine = prompting.engine
    return PromptModel(
        name=engine.model,
        engine=engine.name,
        state=prompting.state(),
        loaded_bytes=engine.loaded_bytes,
        families=[] if engine.base is None else sorted(engine.families),
        adapters=list(prompting.expander.adapters.listed()),
    )
