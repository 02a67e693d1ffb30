"""Two results of one case, row by row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import OptionError
from .report import quality

_COMPARED = {"ratio", "ratio_rounds", "latent_psnr_db", "latent_relative_error"}  # of each row that ran


def load_result(path: Path) -> dict[str, Any]:
    """A result that `skipstep bench` wrote.

    Raises:
        OptionError: if it cannot be read or is something else.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        rows = {row["name"]: row for row in data["rows"]}
        for row in rows.values():
            if "skipped" not in row and not row.keys() >= _COMPARED:
                raise KeyError(*sorted(_COMPARED - row.keys()))
        return {**data, "by_name": rows, "title": data["title"], "environment": data["environment"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OptionError(f"{path} is not a result of `skipstep bench`: {error}") from error


def compare_results(first: dict[str, Any], second: dict[str, Any]) -> str:
    """A Markdown table of both, and what differs in how they were measured.

    Raises:
        OptionError: if they have no row in common.
    """
    common = [name for name in first["by_name"] if name in second["by_name"]]
    if not common:
        raise OptionError("the two results have no row in common; compare results of one case")
    lines = [
        f"## {first['title']}" + (f" against {second['title']}" if second["title"] != first["title"] else ""),
        "",
        "| row | ratio | ratio, second | second / first | latents | latents, second |",
        "|---|---|---|---|---|---|",
    ]
    for name in common:
        one, other, label = first["by_name"][name], second["by_name"][name], name.replace("|", r"\|")
        if "skipped" in one or "skipped" in other:
            lines.append(f"| {label} | {_ratio(one)} | {_ratio(other)} | | | |")
            continue
        change = other["ratio"] / one["ratio"]
        latents = [quality(row, "latent_psnr_db") for row in (one, other)]
        lines.append(f"| {label} | {_ratio(one)} | {_ratio(other)} | {change:.2f} | {' | '.join(latents)} |")
    differing = _differences(first["environment"], second["environment"])
    only = [name for result in (first, second) for name in result["by_name"] if name not in common]
    if differing:
        lines += ["", "Measured differently:", *differing]
    if only:
        lines += ["", f"In one of them only: {', '.join(only)}"]
    return "\n".join(lines) + "\n"


def _ratio(row: dict[str, Any]) -> str:
    if "skipped" in row:
        return "left out"
    return f"{row['ratio']:.2f} ({min(row['ratio_rounds']):.2f}-{max(row['ratio_rounds']):.2f})"


def _differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    names = sorted(set(one) | set(other))
    return [f"- {name}: {one.get(name)} / {other.get(name)}" for name in names if one.get(name) != other.get(name)]
