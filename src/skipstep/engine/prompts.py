"""Lists of prompts: a text file with one a line, and the one that ships for the demo model."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from ..errors import OptionError

COMMENT = "#"


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


def parse_prompts(data: bytes, name: str) -> tuple[str, ...]:
    """The prompts in the bytes of a text file; `name` is what errors call it.

    Raises:
        OptionError: as `read_prompts`.
    """
    found: dict[str, int] = {}
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        try:
            prompt = line.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise OptionError(f"{name}, line {number}, is not UTF-8 text; save the file as UTF-8") from error
        if not prompt or prompt.startswith(COMMENT):
            continue
        if prompt in found:
            raise OptionError(
                f"{name} has {prompt!r} in line {found[prompt]} and again in line {number}; remove one, since the "
                "same picture counts once"
            )
        found[prompt] = number
    if not found:
        raise OptionError(f"{name} holds no prompt; write one a line (lines that start with # are left out)")
    return tuple(found)
