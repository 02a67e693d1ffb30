"""A comparison as one HTML file that needs nothing else, with the same figures as Markdown and JSON beside it."""

from __future__ import annotations

import base64
import json
import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import resources
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, OptionError, OutputError
from .bootstrap import LEVEL, RESAMPLES
from .environment import installed_version
from .media import png_bytes, side_by_side, write_whole
from .quality_plot import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, quality_plot
from .quality_rows import PicturePair, QualityResult
from .quality_table import case_in_words, described, headings, own_notes, reference_cells, row_cells, verdicts

PACKAGES = ("skipstep", "torch", "diffusers", "transformers", "numpy", "scikit-image", "lpips", "torchvision")
SHEET = 1536  # most pixels of a picture comparison's longer side


def report_paths(path: Path) -> tuple[Path, Path, Path]:
    """The HTML file, and the Markdown and JSON files beside it."""
    return path, path.with_suffix(".md"), path.with_suffix(".json")


def check_report(path: Path) -> None:
    """Refuse a place that cannot be written to, before any work is done.

    Raises:
        OptionError: if the name does not end in .html.
        OutputError: if the folder is missing or not writable, or a file of the report is a folder.
        MissingExtraError: if jinja2 is not installed.
    """
    if path.suffix.lower() != ".html":
        raise OptionError(f"the report must end in .html, got {path}")
    _jinja()
    for file in report_paths(path):
        if file.is_dir():
            raise OutputError(f"{file} is a folder; give the name of a file")
        write_whole(file, None)


def write_report(result: QualityResult, path: Path, *, left_out: Sequence[str] = ()) -> None:
    """Write the report and the files beside it; `left_out` says, a sentence each, what could not be measured.

    Raises:
        OutputError: if a file cannot be written.
        MissingExtraError: if jinja2 is not installed.
    """
    page, table, figures = report_paths(path)
    facts = environment()
    notes = [*left_out, *own_notes(result)]
    write_whole(figures, as_json(result, facts, notes).encode())
    write_whole(table, as_markdown(result, facts, notes).encode())
    write_whole(page, as_html(result, facts, notes).encode())


def environment() -> dict[str, Any]:
    """What the figures depend on besides the model: date (UTC), Python, system and package versions."""
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {name: found for name in PACKAGES if (found := installed_version(name)) is not None},
    }


def as_json(result: QualityResult, facts: dict[str, Any], notes: Sequence[str]) -> str:
    """All figures of every case; infinite ones are null."""
    method = {"interval": LEVEL, "resamples": RESAMPLES, "resampled": "prompts"}
    return json.dumps({**result.as_dict(), "method": method, "notes": notes, **facts}, indent=1, allow_nan=False) + "\n"


def as_markdown(result: QualityResult, facts: dict[str, Any], notes: Sequence[str]) -> str:
    """The table of all rows, with what was compared above it and what was left out below."""
    rows = [reference_cells(result), *(row_cells(result, row) for row in result.rows)]
    lines = [
        *(f"- {name}: {value}" for name, value in described(result, facts)),
        "",
        *(f"- {verdict}" for verdict in verdicts(result)),
        "",
        "Medians over all pictures, with the 95 % interval over prompts in brackets, then the worst picture.",
        "",
        f"| {' | '.join(headings(result))} |",
        f"|{'---|' * len(headings(result))}",
        *(f"| {' | '.join(cell.on_one_line().replace('|', '/') for cell in cells)} |" for cells in rows),
        "",
        *(f"- {note}" for note in notes),
    ]
    return "\n".join(lines).rstrip() + "\n"


def as_html(result: QualityResult, facts: dict[str, Any], notes: Sequence[str]) -> str:
    """The whole page; prompts and names are escaped."""
    jinja2 = _jinja()
    source = (resources.files(__package__) / "quality.html.jinja").read_text(encoding="utf-8")
    templates = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    frame = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "top": TOP}
    page: str = templates.from_string(source).render(
        result=result,
        described=described(result, facts),
        verdicts=verdicts(result),
        headings=headings(result),
        reference=reference_cells(result),
        rows=[(row.is_candidate, row_cells(result, row)) for row in result.rows],
        notes=notes,
        plot=quality_plot(result),
        frame={**frame, "bottom": HEIGHT - BOTTOM},
        worst=[_picture(pair) for pair in result.worst],
        resamples=RESAMPLES,
    )
    return page


def _picture(pair: PicturePair) -> dict[str, Any]:
    """A pair as one sheet in base64, with what it shows in words."""
    case = pair.case
    sheet = side_by_side(pair.reference, pair.image, ("uncached", pair.row))
    sheet.thumbnail((SHEET, SHEET))
    return {
        "row": pair.row,
        "prompt": case.prompt,
        "seed": case.seed,
        "figures": case_in_words(case),
        "width": sheet.width,
        "height": sheet.height,
        "data": base64.b64encode(png_bytes(sheet, {})).decode("ascii"),
    }


def _jinja() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError("reports need jinja2: pip install 'skipstep[cli]'") from error
    return jinja2
