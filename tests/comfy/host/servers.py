"""The servers of a test session: each kind is started when first asked for, and shared."""

from __future__ import annotations

from pathlib import Path

from comfy_host.base import PackLink, hide_installed_skipstep, make_base, pack_folder
from comfy_host.folder import HostFolder
from comfy_host.server import Server

from .user import settle_user

TINY_PACK = Path(__file__).parent / "tiny_pack"


class Servers:
    """One server for each way to link the pack."""

    def __init__(self, host: HostFolder, *, version: str, models: Path, folder: Path) -> None:
        self._host = host
        self._version = version
        self._models = models
        self._folder = folder
        self._running: dict[PackLink, Server] = {}

    def get(self, link: PackLink) -> Server:
        """The server whose pack is linked so; one that has ended is not started again.

        With the whole repository, the skipstep that is installed in the host is hidden, as for a user who has
        cloned it; the folder alone needs it.
        """
        if link not in self._running:
            packs = {"skipstep": pack_folder(link), "tiny_pack": TINY_PACK}
            base = make_base(self._folder / link, packs=packs, models=self._models)
            settle_user(base)
            hidden = hide_installed_skipstep(self._folder / "hidden") if link == "repository" else None
            # what one test has drawn need not be drawn for the next
            keeping = ("--cache-lru", "200")
            self._running[link] = Server(
                self._host, version=self._version, base=base, python_path=hidden, arguments=keeping
            )
        return self._running[link].wait()

    def stop(self) -> None:
        for server in self._running.values():
            server.stop()

    def logs(self) -> dict[str, str]:
        """The end of the log of every server, by the way it links the pack."""
        return {link: server.tail() for link, server in self._running.items()}
