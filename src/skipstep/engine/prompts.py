"""Lists of prompts: a text file with one a line, and the one that ships for the demo model."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from ..errors import OptionError
from ..plan.prompts import parse_prompts


def read_prompts(path: Path) -> tuple[str, ...]:
    """The prompts of a UTF-8 text file, one a line; blank lines and lines that start with # are left out.

    Raises:
        OptionError: if the file cannot be read, is not UTF-8 (naming the line), holds no prompt, or one twice.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise OptionError(
            f"cannot read the prompts {path}: {(error.strerror or str(error)).lower()}; give a text file with one "
            "prompt a line"
        ) from error
    return parse_prompts(data, str(path))


def demo_prompts() -> tuple[str, ...]:
    """64 prompts for the demo model: every object, and every background equally often."""
    data = (resources.files("skipstep.demo") / "prompts.txt").read_bytes()
    return parse_prompts(data, "the demo prompts")
