"""`skipstep quality`: how close cached pictures stay, over many prompts and seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from ..errors import MissingExtraError, OptionError
from ._console import console
from .image import Config, Debug, Device, Dtype, Guidance, Model, Negative, Sampler, Side, Steps

if TYPE_CHECKING:
    from ..engine.quality import Distance
    from ..engine.quality_rows import QualityResult

BASELINE = "baseline"
CACHES = ("quality", "balanced", "fast")
NOT_ON_SCREEN = {"steps", "passes", "latent error"}  # columns that 80 characters have no room for

Against = Annotated[str, typer.Option(help="What to compare with: baseline, the uncached run of the same seed.")]
Prompts = Annotated[
    Path | None, typer.Option(help="A UTF-8 text file, one prompt a line, # for comments; the demo model has its own.")
]
Limit = Annotated[int | None, typer.Option(help="Use only the first so many prompts.", min=1)]
Seeds = Annotated[int, typer.Option(help="Seeds a prompt, two or more.", max=1000)]
FirstSeed = Annotated[int, typer.Option(help="The first seed; the others count up from it.", min=0)]
Caches = Annotated[
    list[str] | None,
    typer.Option("--cache", help="What to measure, again for each: a preset; quality, balanced and fast if not given."),
]
Report = Annotated[Path, typer.Option(help="Where to write the HTML; .md and .json go beside it.")]


def quality(
    against: Against = BASELINE,
    prompts: Prompts = None,
    limit: Limit = None,
    seeds: Seeds = 2,
    first_seed: FirstSeed = 0,
    cache: Caches = None,
    out: Report = Path("quality.html"),
    model: Model = "demo",
    config: Config = None,
    negative: Negative = "",
    width: Side = None,
    height: Side = None,
    steps: Steps = 30,
    guidance: Guidance = None,
    sampler: Sampler = "euler",
    device: Device = "auto",
    dtype: Dtype = "auto",
    debug: Debug = False,
) -> None:
    """Measure how close caches stay to the uncached pictures, against fewer steps at equal cost."""
    import torch

    from ..engine import ImageEngine, ImageRequest, load_model
    from ..engine.models import DEMO
    from ..engine.prompts import demo_prompts, read_prompts
    from ..engine.quality import measure_quality
    from ..engine.quality_report import check_report, write_report
    from ..engine.quality_study import QualityStudy
    from ._console import quiet_libraries

    if against != BASELINE:
        raise OptionError(f"against must be {BASELINE}, the uncached run of the same seed, got {against!r}")
    if prompts is None and model != DEMO and Path(model).exists():
        raise _no_prompts(model)
    # what is wrong with the options is said before a model is loaded; only the demo's prompts are known after that
    texts = demo_prompts() if prompts is None else read_prompts(prompts)
    study = QualityStudy(
        request=ImageRequest(
            prompt=texts[0],
            negative_prompt=negative,
            width=width,
            height=height,
            steps=steps,
            guidance_scale=guidance,
            sampler=sampler,
        ),
        prompts=texts[:limit],
        seeds=tuple(range(first_seed, first_seed + seeds)),
        candidates=_candidates(cache or CACHES),
    )
    check_report(out)
    if not debug:
        quiet_libraries()
    engine = ImageEngine(load_model(model, config=config, device=device, dtype=dtype))
    if engine.model.is_demo:
        torch.set_num_threads(1)  # its operations are too small to share; threads that wait for each other cost more
    elif prompts is None:
        raise _no_prompts(model)
    lpips, left_out = _lpips()
    with _progress() as advance:
        result = measure_quality(engine, study, lpips=lpips, on_picture=advance)
    write_report(result, out, left_out=left_out)
    _print_result(result, out, left_out)


def _candidates(caches: tuple[str, ...] | list[str]) -> dict[str, str]:
    """Names for the rows; of a file its name alone, since reports travel.

    Raises:
        OptionError: if two would have the same name.
    """
    named: dict[str, str] = {}
    for cache in caches:
        name = Path(cache).name
        if name in named:
            raise OptionError(f"cache must differ, got {name!r} twice; name each once")
        named[name] = cache
    return named


def _no_prompts(model: str) -> OptionError:
    return OptionError(
        f"prompts must be given for {model}: --prompts FILE, one prompt a line; only the demo model has its own"
    )


def _lpips() -> tuple[Distance | None, list[str]]:
    """The LPIPS distance, or None and why."""
    from ..engine.lpips import load_lpips

    try:
        return load_lpips(), []
    except MissingExtraError as error:
        return None, [f"Left out: {error}"]


@contextmanager
def _progress() -> Iterator[Callable[[int, int, str], None]]:
    """A bar that counts pictures, on a terminal; nothing elsewhere."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=30), MofNCompleteColumn())
    with Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, disable=not console.is_terminal
    ) as bars:
        task = bars.add_task("warming up", total=None)

        def advance(done: int, total: int, name: str) -> None:
            bars.update(task, completed=done, total=total, description=name[:32])

        yield advance


def _print_result(result: QualityResult, out: Path, left_out: list[str]) -> None:
    from ..engine.quality_report import report_paths
    from ..engine.quality_table import headings, reference_cells, row_cells, verdicts

    table = Table(box=None, pad_edge=False)
    shown = [index for index, heading in enumerate(headings(result)) if heading not in NOT_ON_SCREEN]
    for index in shown:
        table.add_column(headings(result)[index], no_wrap=index == 0, justify="right" if index else "left")
    for cells in (reference_cells(result), *(row_cells(result, row) for row in result.rows)):
        table.add_row(*(cells[index].main for index in shown))
    console.print(table)
    for sentence in (*verdicts(result), *left_out):
        console.print(sentence)
    page, markdown, figures = report_paths(out)
    console.print(f"report     {page} ({markdown.name} and {figures.name} beside it)")
