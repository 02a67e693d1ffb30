"""Fetching and installing with a virtual environment's pip, as it is configured on this machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from .errors import HostUnavailableError, InstallError

# how pip says that something is not to be had
NOT_FETCHED = (
    "connection",
    "could not fetch",
    "could not find a version",
    "http error",
    "max retries",
    "network is unreachable",
    "no matching distribution",
    "proxyerror",
    "read timed out",
    "temporary failure in name resolution",
)
LINES = 12  # of pip's that a message quotes


def install(python: Path, *arguments: str, what: str) -> None:
    """`pip install`; `what` names it in a message."""
    _pip(python, "install", *arguments, what=what)


def download(python: Path, requirement: str, *, sha256: str, into: Path, options: tuple[str, ...]) -> None:
    """Put the one archive of a requirement into a folder; pip checks its sum before it looks inside."""
    into.mkdir(parents=True, exist_ok=True)
    pinned = into / "requirement.txt"
    pinned.write_text(f"{requirement} --hash=sha256:{sha256}\n")
    arguments = ("--no-deps", "--require-hashes", "--dest", str(into), *options, "--requirement", str(pinned))
    _pip(python, "download", *arguments, what=requirement)


def forget_half_installed(packages: Path) -> None:
    """Let pip install again what a killed one left half: the list of a package's files is written last."""
    for metadata in packages.glob("*.dist-info"):
        if not (metadata / "RECORD").exists():
            shutil.rmtree(metadata)


def _pip(python: Path, command: str, *arguments: str, what: str) -> None:
    """Run pip.

    Raises:
        HostUnavailableError: if something could not be fetched.
        InstallError: if it failed otherwise, such as over a checksum.
    """
    line = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", command, *arguments]
    done = subprocess.run(line, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode == 0:
        return
    said = "\n".join(f"    {text}" for text in done.stdout.strip().splitlines()[-LINES:])
    if (
        any(words in done.stdout.lower() for words in NOT_FETCHED)
        and "do not match the hashes" not in done.stdout.lower()
    ):
        raise HostUnavailableError(f"could not fetch {what}; pip said:\n{said}")
    raise InstallError(f"could not {command} {what}; pip said:\n{said}")
