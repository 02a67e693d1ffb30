"""The result of a benchmark as JSON and as a Markdown table."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from statistics import median
from typing import Any

import torch

from .environment import environment, without_paths
from .result import BenchResult, RowResult

MIB = 2**20


def as_dict(result: BenchResult, *, command: str | None = None) -> dict[str, Any]:
    """Plain enough for JSON; what is infinite (the PSNR of equal pictures) or not a number is None.

    `command` is what was typed to measure it.
    """
    case = asdict(result.case)
    case.pop("rows")
    figures: dict[str, Any] = {
        "title": result.case.title,
        "environment": environment(result, command),
        "case": case,
        "rows": [_row_dict(result, row) for row in result.rows],
    }
    plain: dict[str, Any] = without_paths(_finite(figures))
    return plain


def as_json(data: dict[str, Any]) -> str:
    """One JSON file of what `as_dict` gives."""
    return json.dumps(data, indent=1, default=str, allow_nan=False) + "\n"


def _row_dict(result: BenchResult, row: RowResult) -> dict[str, Any]:
    if row.skipped is not None:
        return {"name": row.row.name, "backend": row.backend, "skipped": row.skipped}
    report, steps = row.report, row.row.steps or result.case.steps
    seconds = [sum(timing.wall for timing in turn) / len(turn) for turn in row.timings]
    figures: dict[str, Any] = {
        "name": row.row.name,
        "backend": row.backend,
        "peer": row.peer,
        "ratio": row.ratio,
        "ratio_rounds": row.ratios,
        "wall_s_per_run": median(seconds),
        "cpu_s_per_run": median(sum(timing.cpu for timing in turn) / len(turn) for turn in row.timings),
        "steps_per_s": steps / median(seconds),
        "warm_up_s": row.warm_up_s,
        "flop_ceiling": row.flop_ceiling(result.case.steps),
        "share_of_ceiling": result.reached(row),
        "psnr_db": _least(row.psnr),
        "ssim": _least(row.ssim),
        "latent_psnr_db": _least(row.latent_psnr),
        "is_finite": all(bool(torch.isfinite(made.latents).all()) for made in row.made),
        "latent_relative_error": max(row.latent_error) if row.latent_error else None,
        "peak_mib": None if row.peak_bytes is None else row.peak_bytes / MIB,
        "compiled": row.compiled,
        "graph_cache": row.graph_cache,
        "options": asdict(row.row),
    }
    if report is not None:
        figures |= {
            "passes": report.passes,
            "ms_full": 1000 * median(report.full_s),
            "ms_reuse": 1000 * median(report.reuse_s) if report.reuse_s else None,
            "cache_mib": report.cache_bytes / MIB,
        }
    return figures


def as_markdown(data: dict[str, Any]) -> str:
    """A table of what `as_dict` gives."""
    facts = data["environment"]
    unit = "its own CPU seconds" if facts["clock"] == "cpu" else "wall seconds, the device waited for"
    how = [f"`{facts['command']}`"] if facts["command"] else []
    how += [f"commit {facts['commit']}"] if facts["commit"] else []
    lines = [
        f"## {data['title']}, {data['case']['steps']} steps",
        "",
        *([", ".join(how), ""] if how else []),
        f"{facts.get('gpu') or facts['processor']}, {facts['threads']} thread(s), {_versions(facts)}, {facts['date']}; "
        f"ratios of {unit}, median of {data['case']['rounds']} interleaved rounds (least to most). Quality is against "
        "the first row's pictures of the same seeds, the worst of them.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
    ]
    skipped = []
    for row in data["rows"]:
        if "skipped" in row:
            skipped.append(f"- {row['name']}: left out, {row['skipped']}")
            continue
        lines.append("| " + " | ".join(text.replace("|", r"\|") for text in cells(row)) + " |")
        skipped += [f"- {row['name']}: ran eagerly, {failure}" for failure in row["compiled"].get("failures", [])]
    return "\n".join([*lines, "", *skipped]).rstrip() + "\n"


COLUMNS = (
    "row", "backend", "ratio", "steps/s", "ms full", "ms reuse", "ceiling", "reached", "PSNR", "SSIM", "latents",
    "cache", "peak", "warm-up", "graphs",
)  # fmt: skip


def cells(row: dict[str, Any]) -> list[str]:
    """A row of the table."""
    low, high = min(row["ratio_rounds"]), max(row["ratio_rounds"])
    compiled = row["compiled"]
    graphs = "" if not compiled else f"{compiled.get('compiles', 0)} made"
    if compiled.get("loads"):
        graphs += f", {compiled['loads']} loaded"
    if compiled.get("breaks"):
        graphs += f", {compiled['breaks']} breaks"
    if compiled.get("warnings"):
        graphs += f", {compiled['warnings']} warnings"
    if compiled.get("failures"):
        graphs += f", {len(compiled['failures'])} failed"
    if row["graph_cache"]:
        graphs += f", {row['graph_cache']}"
    return [
        row["name"],
        row["peer"] or row["backend"],
        f"{row['ratio']:.2f} ({low:.2f}-{high:.2f})",
        f"{row['steps_per_s']:.2f}",
        _number(row.get("ms_full"), ".1f"),
        _number(row.get("ms_reuse"), ".1f"),
        _number(row["flop_ceiling"], ".2f"),
        _number(row["share_of_ceiling"], ".0%"),
        quality(row, "psnr_db"),
        _number(row["ssim"], ".4f"),
        quality(row, "latent_psnr_db"),
        _number(row.get("cache_mib"), ".1f", " MiB"),
        _number(row["peak_mib"], ".0f", " MiB"),
        f"{row['warm_up_s']:.1f} s",
        graphs,
    ]


def quality(row: dict[str, Any], key: str) -> str:
    """A PSNR in dB; infinite, which is None here, where there was something to compare."""
    if not row.get("is_finite", True):
        return "not finite"
    if row[key] is not None:
        return f"{row[key]:.1f} dB"
    return "" if row["ssim" if key == "psnr_db" else "latent_relative_error"] is None else "equal"


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:{form}}{unit}"


def _finite(value: Any) -> Any:
    """The same with None for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _least(values: list[float]) -> float | None:
    """None for no values and for equal pictures."""
    return min(values) if values and math.isfinite(min(values)) else None


def _versions(facts: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {facts['versions'][name]}" for name in ("torch", "diffusers") if name in facts["versions"]
    )
