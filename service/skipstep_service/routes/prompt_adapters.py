"""/v1/prompt/adapters: adapters of the prompt model, from folders of the server's own; nothing is uploaded."""

from __future__ import annotations

from pathlib import Path as File
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Path, Request

from skipstep.adapters import AdapterInfo, inspect_adapter
from skipstep.errors import AdapterError, OptionError

from ..errors import InvalidRequestError, NotFoundError
from ..keys import needs
from ..prompts.prompting import Prompting
from .prompt_bodies import AdapterAnswer, AdapterFolder, AdapterList, ModuleAnswer, NewAdapter, Unloaded
from .prompting import made_in, prompting_of
from .refusals import refusals

router = APIRouter(prefix="/v1/prompt", tags=["prompt"], responses=refusals(401, 403, 404))
_BODY = refusals(400, 408, 413, 422)
_HERE = "the folder of adapters"
AdapterId = Annotated[str, Path(max_length=64, description="As GET /v1/prompt/adapters lists it.")]
Asks, Decides = Depends(needs("jobs")), Depends(needs("admin"))


@router.get("/adapters", response_model=AdapterList, dependencies=[Asks])
def list_adapters(request: Request) -> AdapterList:
    """Adapters that requests may name."""
    listed = prompting_of(request).expander.adapters.listed()
    return AdapterList(adapters=[_answer(name, info) for name, info in listed.items()])


@router.post("/adapters", status_code=201, response_model=AdapterAnswer, responses=_BODY, dependencies=[Decides])
def add_adapter(request: Request, body: Annotated[NewAdapter, Body()]) -> AdapterAnswer:
    """Let requests name an adapter, until the server ends; one that is unsafe or for another model is refused. Needs a
    key with the scope `admin`."""
    prompting = prompting_of(request)
    path = _path(prompting, body.folder)
    if not path.is_dir():
        raise InvalidRequestError(f"folder must be one of {_HERE}, got {body.folder!r}")
    name = path.name if body.name is None else body.name
    info = _checked(prompting, lambda: prompting.expander.adapters.add(path, name=name, replace=body.replace))
    return _answer(name, info)


@router.post("/adapters/inspect", response_model=AdapterAnswer, responses=_BODY, dependencies=[Decides])
def inspect(request: Request, body: Annotated[AdapterFolder, Body()]) -> AdapterAnswer:
    """Look at an adapter by its headers alone, without adding it. Needs a key with the scope `admin`."""
    prompting = prompting_of(request)
    path = _path(prompting, body.folder)
    info = _checked(prompting, lambda: inspect_adapter(path, root=prompting.root, base=prompting.engine.base))
    return _answer(path.name, info)


@router.delete("/adapters/{name}", status_code=204, responses=refusals(422), dependencies=[Decides])
def remove_adapter(request: Request, name: AdapterId) -> None:
    """Forget an adapter, and give its memory back; its folder stays. Needs a key with the scope `admin`."""
    try:
        prompting_of(request).expander.adapters.remove(name)
    except OptionError as error:
        raise NotFoundError("there is no such adapter") from error


@router.post("/unload", response_model=Unloaded, responses=refusals(502, 503), dependencies=[Decides])
async def unload(request: Request) -> Unloaded:
    """Give the model's memory back when what is asked now is answered; the next question loads it again. Needs a key
    with the scope `admin`."""
    prompting = prompting_of(request)
    before = prompting.engine.loaded_bytes
    await made_in(request, prompting.unload())
    return Unloaded(freed_bytes=max(before - prompting.engine.loaded_bytes, 0))


def _path(prompting: Prompting, folder: str) -> File:
    """A folder or file under the root; its name has no way out, and links are refused where it is opened."""
    if prompting.root is None:
        raise InvalidRequestError(f"this server has no {_HERE[4:]}; its operator sets SKIPSTEP_PROMPT_ADAPTERS")
    return prompting.root / folder


def _checked(prompting: Prompting, look: Any) -> AdapterInfo:
    try:
        found: AdapterInfo = look()
    except (AdapterError, OptionError) as error:
        raise InvalidRequestError(str(error).replace(str(prompting.root), _HERE)) from error
    return found


def _answer(name: str, info: AdapterInfo) -> AdapterAnswer:
    return AdapterAnswer(
        name=name,
        family=info.family,
        layout=info.layout,
        ranks=list(info.ranks),
        modules=[ModuleAnswer(name=one.name, rank=one.rank, scale=one.scale) for one in info.modules],
        parameters=info.parameters,
        bytes=info.bytes,
        sha256=info.sha256,
        warnings=list(info.warnings),
    )
