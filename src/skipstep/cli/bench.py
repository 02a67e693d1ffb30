"""`skipstep bench`: speed and quality of each technique, stacked one on another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ..errors import MissingExtraError, OptionError
from ._console import console
from .image import Debug

if TYPE_CHECKING:
    from ..bench import BenchCase

COMPARE = "compare"
ON_SCREEN = ("row", "ratio", "ms full", "ms reuse", "reached", "latents")  # 80 characters have room for these

Words = Annotated[
    list[str] | None,
    typer.Argument(help="A case by name or a TOML file; or `compare A.json B.json`. Without: the names of the cases."),
]
RandomWeights = Annotated[bool, typer.Option("--random-weights", help="Run the UNet of that name without weights.")]
OutFolder = Annotated[Path, typer.Option(help="Where to write the JSON, the table and the plots.")]
BackendOption = Annotated[str | None, typer.Option(help='For rows that say "auto".')]
RoundsOption = Annotated[int | None, typer.Option(help="How often to run all rows, in turns.", min=1)]
StepsOption = Annotated[int | None, typer.Option(help="Denoising steps.", min=2)]
SideOption = Annotated[int | None, typer.Option(help="Pixels, a multiple of 8.", min=8)]
FramesOption = Annotated[int | None, typer.Option(help="Of a video.", min=1)]
ModelOption = Annotated[str | None, typer.Option(help="Another model than the case's.")]
DeviceOption = Annotated[str | None, typer.Option(help="auto, cpu, cuda, ...")]
DtypeOption = Annotated[str | None, typer.Option(help="auto, float32, float16 or bfloat16.")]
GraphsOption = Annotated[
    Path | None,
    typer.Option(help="Keep compiled graphs in this folder and use those in it; without, all are made anew."),
]


def bench(
    context: typer.Context,
    what: Words = None,
    random_weights: RandomWeights = False,
    out: OutFolder = Path("bench-output"),
    backend: BackendOption = None,
    rounds: RoundsOption = None,
    steps: StepsOption = None,
    width: SideOption = None,
    height: SideOption = None,
    frames: FramesOption = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    graphs: GraphsOption = None,
    debug: Debug = False,
) -> None:
    """Measure each technique against the plain model, in turns; `skipstep bench demo` takes three minutes."""
    from ..bench import compare_results, load_case, load_result, shipped_cases, with_backend
    from ._console import quiet_libraries

    words = list(what or [])
    if not words:
        _print_cases(shipped_cases())
        return
    if words[0] == COMPARE:
        if len(words) != 3:
            raise OptionError(f"compare takes two results of `skipstep bench`, got {len(words) - 1}")
        console.print(compare_results(load_result(Path(words[1])), load_result(Path(words[2]))), end="")
        return
    if len(words) > 1:
        raise OptionError(f"give one case, got {', '.join(words)}")
    given = {
        "rounds": rounds, "steps": steps, "width": width, "height": height, "frames": frames, "model": model,
        "device": device, "dtype": dtype,
    }  # fmt: skip
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    case = load_case(words[0], **changes)
    if random_weights and not case.random_weights:
        raise OptionError(f"{words[0]} is a case with weights; cases of random UNets are in `skipstep bench`'s list")
    if backend is not None:
        case = with_backend(case, backend)
    if not debug:
        quiet_libraries()
    data = _measured(case, words[0], out=out, graphs=graphs, command=context.obj)
    _write(data, Path(words[0]).stem, out)


def _measured(case: BenchCase, name: str, *, out: Path, graphs: Path | None, command: Sequence[str]) -> dict[str, Any]:
    from ..bench import as_dict, command_line, run_case
    from ..engine.media import write_whole
    from ..errors import OutputError

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot write to {out}: {error.strerror or error}; choose another place with --out"
        ) from error
    write_whole(out / f"{Path(name).stem}.json", None)
    with console.status("starting") as status:
        # a row's name is no markup
        result = run_case(case, lambda what: status.update(Text(what)), graphs=graphs)
    return as_dict(result, command=command_line(command))


def _write(data: dict[str, Any], stem: str, out: Path) -> None:
    from ..bench import as_json, as_markdown, plot_pareto, plot_waterfall
    from ..engine.media import write_whole

    written: list[str] = []

    def write(file: str, content: bytes) -> None:
        write_whole(out / file, content)
        written.append(str(out / file))

    write(f"{stem}.json", as_json(data).encode())
    write(f"{stem}.md", as_markdown(data).encode())
    _print(data)
    try:
        plots = {"waterfall": plot_waterfall(data), "pareto": plot_pareto(data)}
    except MissingExtraError as error:
        console.print(f"no plots: {error}")
        plots = {}
    for kind, made in plots.items():
        if made is not None:
            for suffix, content in zip(("png", "svg"), made, strict=True):
                write(f"{stem}-{kind}.{suffix}", content)
    console.print(f"written    {', '.join(written)}")


def _print(data: dict[str, Any]) -> None:
    from ..bench.report import COLUMNS, cells

    console.print(f"{data['title']}, {data['case']['steps']} steps")
    table = Table(box=None, pad_edge=False)
    shown = [COLUMNS.index(name) for name in ON_SCREEN]
    for index in shown:
        table.add_column(COLUMNS[index], justify="right" if index else "left", no_wrap=bool(index))
    for row in data["rows"]:
        if "skipped" not in row:
            texts = cells(row)
            texts[COLUMNS.index("ratio")] = f"{row['ratio']:.2f}"
            table.add_row(*(texts[index] for index in shown))
    console.print(table)
    for row in data["rows"]:
        if "skipped" in row:
            console.print(f"left out   {row['name']}: {row['skipped']}")


def _print_cases(cases: dict[str, Path]) -> None:
    from ..bench import load_case

    for name in cases:
        console.print(f"{name:<16} {load_case(name).title}")
