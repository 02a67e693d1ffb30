"""The compiler that a command asks for, and what it says of its work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._console import console

if TYPE_CHECKING:
    from ..compile import Compiler

EAGER = "eager"


def new_compiler(backend: str, *, attention: str = "auto", verify: bool = False, **options: Any) -> Compiler | None:
    """The compiler of a backend, which says what it is at; None if there is nothing to do.

    Raises:
        OptionError, BackendError: as `Compiler`.
    """
    if backend == EAGER and attention == "auto" and not verify and not options:
        return None
    from ..compile import CompileOptions, Compiler, default_kernels, default_store

    chosen = CompileOptions(attention=attention, verify=verify, **options)
    if backend == EAGER:
        return Compiler(backend, chosen)
    if backend == "inductor":
        default_kernels().use()  # torch's own place for them is a folder that a restart of the machine empties
    return Compiler(backend, chosen, store=default_store(), on_compile=_tell)


def _tell(what: str, seconds: float | None) -> None:
    if seconds is None:
        console.print(f"compiling  {what} ...")
    elif seconds >= 1:
        console.print(f"ready      {what}: {seconds:.1f} s")


def print_compiling(compiler: Compiler | None) -> None:
    """What a compiler did for the command."""
    if compiler is None or compiler.backend.name == EAGER:
        return
    counted = compiler.counters
    found = f" ({counted.cached} of kernels on disk)" if counted.cached else ""
    made = f"{counted.compiles} compiled{found}, {counted.loads} loaded, in {counted.seconds:.1f} s"
    console.print(f"{'graphs':<10} {compiler.backend.name}: {made}; used {counted.hits} times")
    for failure in counted.failures:
        console.print(f"{'eager':<10} {failure}")
