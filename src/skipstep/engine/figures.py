"""Plots as files."""

from __future__ import annotations

import io
from typing import Any


def png_and_svg(figure: Any) -> tuple[bytes, bytes]:
    """A matplotlib figure in both formats; the SVG holds no date, so that equal plots are equal files."""
    made = []
    for kind in ("png", "svg"):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else None)
        made.append(buffer.getvalue())
    return made[0], made[1]
