"""Lists of prompts, one a line."""

from __future__ import annotations

from ..errors import OptionError

COMMENT = "#"


def parse_prompts(data: bytes, name: str) -> tuple[str, ...]:
    """The prompts in the bytes of a text file; `name` is what errors call it.

    Blank lines and lines that start with # are left out.

    Raises:
        OptionError: if a line is not UTF-8, naming it, or if they hold no prompt, or one twice.
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
