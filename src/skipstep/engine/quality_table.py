"""The figures of a comparison in words and table cells, for the page and for Markdown alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .bootstrap import Estimate
from .quality_rows import ENOUGH_PROMPTS, FIGURES, Case, Figure, QualityResult, Row

NOISY_SAMPLERS = {"euler_a", "dpmpp_2m_sde", "lcm"}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A median, its interval (or a remark) and its worst case as text; the last two may be empty."""

    main: str
    interval: str = ""
    worst: str = ""

    def on_one_line(self) -> str:
        """All that there is, for Markdown."""
        worst = f"worst {self.worst}" if self.worst else ""
        return " ".join(part for part in (self.main, self.interval and f"[{self.interval}]", worst) if part)


def described(result: QualityResult, facts: dict[str, Any]) -> list[tuple[str, str]]:
    """What was compared, as names and values; `facts` are those of the machine."""
    request = result.request
    seeds = ", ".join(map(str, result.seeds))
    negative = [("negative prompt", request.negative_prompt)] if request.negative_prompt else []
    return [
        ("model", f"{result.model}, {result.dtype}"),
        ("sampler", f"{request.sampler}, {request.steps} steps"),
        ("guidance", f"{request.guidance_scale:g}"),
        *negative,
        ("size", f"{request.width} x {request.height} pixels"),
        ("pictures", f"{len(result.prompts)} prompts x {len(result.seeds)} seeds ({seeds}) a row"),
        ("against", "the uncached run of the same prompt and seed"),
        ("device", result.device),
        ("versions", ", ".join(f"{name} {version}" for name, version in facts["versions"].items())),
        ("system", f"Python {facts['python']}, {facts['system']}"),
        ("date", f"{facts['date']} (UTC)"),
    ]


def verdicts(result: QualityResult) -> list[str]:
    """For every candidate a sentence: is it closer to the uncached pictures than fewer steps at its cost?"""
    return [_verdict(result, row) for row in result.rows if row.is_candidate]


def _verdict(result: QualityResult, row: Row) -> str:
    gain = result.gain(row)
    if gain is None:
        same = " and gives the same pictures" if row.identical == len(row.cases) else ""
        return f"{row.name} costs what the uncached run does{same}."
    amount = f"{abs(gain.median):.1f} dB"
    if gain.interval is None:
        side = "closer" if gain.median > 0 else "farther"
        return f"{row.name} is {amount} {side} than {row.equal_cost} on this one prompt, which says nothing of others."
    low, high = gain.interval
    between = f"95 % interval {low:+.1f} to {high:+.1f} dB"
    at = f"at a FLOP ratio of {row.flop_ratio:.2f}"
    if low > 0:
        return f"{row.name} is {amount} closer to the uncached pictures than {row.equal_cost}, {at} ({between})."
    if high < 0:
        return f"{row.name} is {amount} farther from the uncached pictures than {row.equal_cost}, {at} ({between})."
    return f"{row.name} is neither clearly closer nor clearly farther than {row.equal_cost}, {at} ({between})."


def own_notes(result: QualityResult) -> list[str]:
    """What a reader must know before trusting the figures."""
    notes = []
    if len(result.prompts) < ENOUGH_PROMPTS:
        notes.append(
            f"Only {len(result.prompts)} prompt{'s' if len(result.prompts) > 1 else ''}: intervals from fewer than "
            f"{ENOUGH_PROMPTS} are too narrow to be relied on."
        )
    notes += [
        f"{row.name}: {row.identical} of {len(row.cases)} pictures equal the uncached ones exactly."
        for row in result.rows
        if row.identical
    ]
    if result.request.sampler in NOISY_SAMPLERS:
        notes.append(
            f"{result.request.sampler} adds new noise at every step, so that another number of steps is another noise: "
            "rows with fewer steps are farther away for that alone, and say little about what the steps are worth."
        )
    return notes


def headings(result: QualityResult) -> list[str]:
    """The heads of the columns of `row_cells`."""
    figures = [figure.heading for figure in _measured(result)]
    return ["row", "steps", "passes", "FLOP ratio", *figures[:2], "gain over fewer steps, dB", *figures[2:]]


def reference_cells(result: QualityResult) -> list[Cell]:
    """The uncached run itself, with the seconds of its sampling loop."""
    first = (
        Cell(main="uncached"),
        Cell(main=str(result.request.steps)),
        Cell(main=_passes(result.baseline_passes)),
        Cell(main="1.00"),
        Cell(main="1.00", interval=f"loop {1000 * result.baseline_loop_s:.0f} ms"),
        Cell(main="reference"),
    )
    return [*first, *(Cell(main="") for _ in headings(result)[len(first) :])]


def row_cells(result: QualityResult, row: Row) -> list[Cell]:
    """A row's figures: medians, their intervals and the worst cases."""
    figures = [_figure_cell(figure, row.estimate(figure.key)) for figure in _measured(result)]
    gain = result.gain(row)
    return [
        Cell(main=row.name, interval="" if row.source in ("options", row.name) else row.source),
        Cell(main=str(row.steps)),
        Cell(main=_passes(row.passes)),
        Cell(main=f"{row.flop_ratio:.2f}"),
        *figures[:2],
        Cell(main="") if gain is None else _cell(gain, worst=gain.lowest, form="+.1f"),
        *figures[2:],
    ]


def case_in_words(case: Case) -> str:
    """The figures of one picture."""
    distance = "" if case.lpips is None else f", LPIPS {case.lpips:.4f}"
    return (
        f"latents {_number(case.latent_psnr, '.1f')} dB, PSNR {_number(case.psnr, '.1f')} dB, "
        f"SSIM {case.ssim:.4f}{distance}"
    )


def _measured(result: QualityResult) -> list[Figure]:
    """The columns that have figures: LPIPS may have none."""
    return [figure for figure in FIGURES if all(row.estimate(figure.key) is not None for row in result.rows)]


def _figure_cell(figure: Figure, estimate: Estimate | None) -> Cell:
    assert estimate is not None
    return _cell(estimate, worst=figure.worst(estimate), form=f".{figure.decimals}f")


def _cell(estimate: Estimate, *, worst: float, form: str) -> Cell:
    if estimate.lowest == estimate.highest:
        return Cell(main=_number(estimate.median, form))
    interval = ""
    if estimate.interval is not None:
        interval = " to ".join(_number(bound, form) for bound in estimate.interval)
    return Cell(main=_number(estimate.median, form), interval=interval, worst=_number(worst, form))


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "identical"


def _passes(passes: str) -> str:
    return f"{passes.count('F')} full + {passes.count('r')} reuse"
