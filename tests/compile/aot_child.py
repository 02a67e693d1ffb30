"""Another process of `test_aot.py`: waits for a line, compiles or loads the reuse pass of a toy, and says what it did.

`aot_child.py STORE [MOMENT]`: at the moment, if there is one, the process ends as by `kill -9`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import torch._inductor.config
from compile_toys import errors_of, toy_call, toy_unet

from skipstep.compile import Compiler, GraphStore


def die(*_: Any, **__: Any) -> Any:
    """No handler runs, nothing is flushed, and what this process started dies too."""
    os.killpg(os.getpid(), signal.SIGKILL)  # a group of its own, see `Child`


def die_after(call: Callable[..., Any], times: int) -> Callable[..., Any]:
    """The function, and death after so many of its calls."""

    def last_call(*args: Any, **kwargs: Any) -> Any:
        nonlocal times
        result, times = call(*args, **kwargs), times - 1
        return result if times else die()

    return last_call


def die_in_the_compiler() -> None:
    """Wait for g++ to run."""

    def watch() -> None:
        pause = threading.Event()
        while not pause.wait(0.01):
            for children in Path("/proc/self/task").glob("*/children"):
                with suppress(OSError):  # it ended just now
                    if any("+" in Path(f"/proc/{child}/comm").read_text() for child in children.read_text().split()):
                        die()

    threading.Thread(target=watch, daemon=True).start()


def arrange(moment: str) -> None:
    """Have the process die at the moment."""
    if moment == "exporting":
        torch.export.export = die
    elif moment == "in the compiler":
        die_in_the_compiler()
    elif moment == "compiled":
        torch._inductor.aoti_compile_and_package = die_after(torch._inductor.aoti_compile_and_package, 1)
    elif moment == "half stored":  # the package or its note is in place, the other is not
        shutil.move = die_after(shutil.move, 2)
    elif moment == "loading":
        torch._inductor.aoti_load_package = die
    else:
        raise ValueError(moment)


def main() -> None:
    """Tell of being ready, wait, and tell of the results."""
    torch.set_num_threads(1)
    torch._inductor.config.compile_threads = 1  # as the fixture `lean_inductor`
    torch._inductor.config.cpp.vec_isa_ok = True
    store, moment = GraphStore(Path(sys.argv[1])), sys.argv[2:]
    compiler = Compiler("aot", store=store)
    split = compiler(toy_unet(), (0,))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    passes = sys.stdin.readline().split()
    if moment:
        arrange(*moment)
    errors = errors_of(split, toy_call(), passes)
    sys.stdout.write(json.dumps({"errors": errors, **compiler.counters.as_dict()}))


if __name__ == "__main__":
    main()
