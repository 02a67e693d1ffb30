"""Environments that a OneFlow backend is told of: real ones, and programs that stand for one."""

from __future__ import annotations

import sys
from pathlib import Path

STUB = Path(__file__).parent / "flow_stub"


def stub_python(folder: Path, *, before: str = "") -> Path:
    """A program like `python`, in which torch stands for OneFlow; it runs `before` first."""
    return program(
        folder,
        f"""
import runpy, sys
sys.path.insert(0, {str(STUB)!r})
{before}
sys.argv = sys.argv[2:]  # without itself and -I
runpy.run_path(sys.argv[0], run_name="__main__")
""",
    )


def program(folder: Path, code: str) -> Path:
    """A program of this Python code."""
    made = folder / "python"
    made.write_text(f"#!{sys.executable}\n{code}")
    made.chmod(0o755)
    return made
