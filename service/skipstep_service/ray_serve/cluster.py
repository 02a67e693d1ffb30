"""A head node on this machine, with the application on it, started again when it dies."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import structlog

from skipstep.errors import BackendError, OptionError

from ..settings import Settings, is_loopback

_LOOK_S, _END_S = 0.2, 15.0
_LEAST_S, _MOST_S = 1.0, 30.0  # between starts
_TOKEN_FILE = Path.home() / ".ray" / "auth_token"  # of `ray get-auth-token --generate`
log = structlog.get_logger()


class Head:
    """Ray's processes of a head node: its own supervisor among them ends all when one of them dies."""

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        options = settings.ray
        address = _address_of(options.head)
        self.address = f"{address}:{options.port}"
        self._environment = {"RAY_USAGE_STATS_ENABLED": "0", **guarded(environment, host=options.head)}
        self._command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
            f"--node-ip-address={address}",
            f"--port={options.port}",
            "--include-dashboard=false",
            "--disable-usage-stats",
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_alive(self) -> bool:
        """Whether all of them are there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start them."""
        self._process = subprocess.Popen(
            self._command, env=self._environment, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def run(self, word: str, *, timeout_s: float) -> bool:
        """Have a process of its own `deploy` the application or `shutdown` it; whether it did."""
        command = [sys.executable, "-m", "skipstep_service.ray_serve", word, self.address]
        try:
            return subprocess.run(command, env=self._environment, timeout=timeout_s, check=False).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def stop(self) -> None:
        """End them, and what is left of them."""
        if self._process is None:
            return
        for sent in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, sent)
                self._process.wait(_END_S)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self._process = None


def serve_cluster(settings: Settings, environment: Mapping[str, str]) -> None:
    """Serve until a signal ends it. A cluster that dies is started again; its jobs are in the store.

    Raises:
        BackendError: if the first start fails.
    """
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    head, has_served, wait_s = Head(settings, environment), False, _LEAST_S
    try:
        while not ending.is_set():
            started = time.monotonic()
            head.start()
            if head.run("deploy", timeout_s=settings.ray.start_timeout_s):
                log.info("serving", seconds=round(time.monotonic() - started, 1), head=head.address)
                has_served, wait_s = True, _LEAST_S
                while head.is_alive and not ending.wait(_LOOK_S):
                    pass
            elif not has_served and not ending.is_set():
                raise BackendError("the cluster could not be started; the log above says why")
            if not ending.is_set():
                log.error("the head node died; starting it again", wait_s=wait_s)
                head.stop()
                ending.wait(wait_s)
                wait_s = min(2 * wait_s, _MOST_S)
        if head.is_alive:
            head.run("shutdown", timeout_s=settings.drain_s + _END_S)
    finally:
        head.stop()


def _address_of(host: str) -> str:
    """Ray takes no names.

    Raises:
        OptionError: if nobody has this one.
    """
    try:
        return socket.gethostbyname(host)
    except OSError as error:
        raise OptionError(f"SKIPSTEP_RAY__HEAD must be an address or a name of this machine, got {host!r}") from error


def guarded(environment: Mapping[str, str], *, host: str) -> dict[str, str]:
    """With a token that all of the cluster asks for; who reaches a cluster without one runs what he likes there.

    Raises:
        OptionError: if other machines reach the host, and there is no token that they could have, too.
    """
    mode = environment.get("RAY_AUTH_MODE", "token")
    found = {**environment, "RAY_AUTH_MODE": mode}
    has_token = _TOKEN_FILE.is_file() or any(
        environment.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    )
    if mode != "token" or has_token:
        return found
    if not is_loopback(host):
        raise OptionError(
            f"other machines reach the head at {host}: set RAY_AUTH_TOKEN to the same text on all of them "
            "(openssl rand -hex 32 makes one), or RAY_AUTH_MODE=disabled in a network that nobody else is in"
        )
    return {**found, "RAY_AUTH_TOKEN": secrets.token_hex(32)}
