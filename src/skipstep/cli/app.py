"""The command line's commands, and what it says and returns when one fails."""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from .. import __version__
from ..errors import (
    AdaptedPlanWarning,
    BranchError,
    FewStepsWarning,
    GraphNotKeptWarning,
    IgnoredInputWarning,
    OptionError,
    PlanError,
    ScheduleError,
    SkipstepError,
)
from .adapters import adapters
from .bench import bench
from .cache import cache
from .doctor import doctor
from .image import image
from .models import models
from .plan import plan
from .prompt import prompt
from .quality import quality
from .serve import serve
from .video import video

FAILURE, USAGE = 1, 2
_USAGE_ERRORS = (OptionError, BranchError, ScheduleError, PlanError)
# typer carries its own copy of click, and names this class only through its children
_ClickError: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

app = typer.Typer(
    name="skipstep",
    add_completion=False,
    rich_markup_mode=None,
    help="Cached and forecast UNet diffusion: the same picture in a third of the work, with the figures.",
    epilog="`skipstep COMMAND --help` explains a command.",
)
for _command in (image, video, plan, quality, bench, cache, models, serve, doctor):
    app.command()(_command)
app.add_typer(adapters)
app.add_typer(prompt, name="prompt")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"skipstep {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


def run(arguments: Sequence[str]) -> None:
    """Run one command and exit; see `skipstep.cli.main`."""
    debug = "--debug" in arguments
    try:
        with _own_warnings(debug):
            command = typer.main.get_command(app)
            given = list(arguments) or ["--help"]
            with command.make_context("skipstep", list(given), obj=("skipstep", *given)) as context:
                code = command.invoke(context) or 0
    except typer.Exit as stop:  # --help and --version
        code = stop.exit_code
    except _ClickError as error:
        code = _fail(error.format_message(), error.exit_code, debug=debug)
    except (KeyboardInterrupt, typer.Abort):
        code = _fail("interrupted; no result was written", FAILURE, debug=debug)
    except SkipstepError as error:
        code = _fail(str(error), USAGE if isinstance(error, _USAGE_ERRORS) else FAILURE, debug=debug)
    except Exception as error:  # noqa: BLE001  the outermost handler: a person reads this, not a program
        code = _fail(_reason(error), FAILURE, debug=debug)
    raise SystemExit(code)


def _fail(message: str, code: int, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    sys.stderr.write(f"error: {message}\n")
    return code


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory; ask for a smaller picture, --dtype float16 or another --device"
    lines = str(error).strip().splitlines() or ["no message"]
    return f"unexpected {type(error).__name__}: {lines[0]}; --debug shows where"


@contextmanager
def _own_warnings(debug: bool) -> Iterator[None]:
    """Show our warnings as one line each, and others only when debugging."""

    shown: set[str] = set()

    def show(message: Warning | str, *_: Any) -> None:
        if str(message) not in shown:
            shown.add(str(message))
            sys.stderr.write(f"warning: {message}\n")

    with warnings.catch_warnings():
        if not debug:
            warnings.simplefilter("ignore")
        warnings.simplefilter("always", FewStepsWarning)
        warnings.simplefilter("always", GraphNotKeptWarning)
        warnings.simplefilter("always", IgnoredInputWarning)
        warnings.simplefilter("always", AdaptedPlanWarning)
        setattr(warnings, "showwarning", show)  # noqa: B010  the documented hook, of a wider type
        yield
