"""A ComfyUI server as a process: started, waited for, stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

from .errors import ServerError
from .folder import HostFolder

ADDRESS = "127.0.0.1"
# sub-quadratic attention, the default without a GPU, reads /proc at every call
ARGUMENTS = ("--cpu", "--use-pytorch-cross-attention", "--disable-api-nodes", "--preview-method", "latent2rgb")
START_S = 240.0  # a busy machine needs a minute
STOP_S = 20.0  # the guard takes up to 15
GUARD = Path(__file__).parent / "guard.py"
TAIL = 60  # lines of the log that a message quotes


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind((ADDRESS, 0))
        return int(listener.getsockname()[1])


def check_free(port: int) -> None:
    """Another server there would answer in the place of ours.

    Raises:
        ServerError: if something listens on it.
    """
    with socket.socket() as caller:
        if caller.connect_ex((ADDRESS, port)) == 0:
            raise ServerError(f"port {port} of {ADDRESS} is taken: choose another with --port")


class Server:
    """A running server; a context manager stops it."""

    def __init__(
        self,
        host: HostFolder,
        *,
        version: str,
        base: Path,
        port: int | None = None,
        arguments: tuple[str, ...] = (),
        python_path: Path | None = None,
    ) -> None:
        """Start it, without waiting; `python_path` goes to the front of its path.

        The log is written into the base directory.
        """
        self.version = version
        self.base = base
        self.port = port or free_port()
        self.url = f"http://{ADDRESS}:{self.port}"
        self.log = base / "server.log"
        database = f"sqlite:///{base / 'user' / 'comfyui.db'}"  # the default lies in the tree, and has a lock
        line = [
            str(host.python),
            "-I",
            str(GUARD),
            str(host.python),
            "main.py",
            "--listen",
            ADDRESS,
            "--port",
            str(self.port),
        ]
        line += ["--base-directory", str(base), "--database-url", database, *ARGUMENTS, *arguments]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                line,
                cwd=host.tree(version),
                env=_environment(python_path),
                stdin=subprocess.PIPE,  # see guard.py
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the one who waits for it
            )

    def wait(self, timeout_s: float = START_S) -> Server:
        """Until it answers.

        Raises:
            ServerError: if it ended, or does not answer in time, with the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        while not self._answers():
            if self._process.poll() is not None:
                raise ServerError(f"ComfyUI ended with {self._process.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise ServerError(f"ComfyUI did not answer within {timeout_s:.0f} s:\n{self.tail()}")
            time.sleep(0.2)
        return self

    def join(self) -> int:
        """Wait until it ends by itself; its exit status."""
        return self._process.wait()

    def stop(self) -> None:
        """End it; killing whoever started it does so too."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def text(self) -> str:
        """The whole log."""
        return self.log.read_text(errors="replace")

    def tail(self) -> str:
        """The end of the log."""
        return "\n".join(self.text().splitlines()[-TAIL:])

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/system_stats", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False


def _environment(python_path: Path | None) -> dict[str, str]:
    environment = dict(os.environ)
    # more threads than free cores spend their time waiting for each other: 127 s instead of 6 s were measured
    environment.setdefault("OMP_NUM_THREADS", "1")
    environment["PYTHONUNBUFFERED"] = "1"
    environment.pop("PYTHONPATH", None)  # of who starts it
    if python_path is not None:
        environment["PYTHONPATH"] = str(python_path)
    return environment
