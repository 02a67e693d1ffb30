"""A ComfyUI with the pack for a person to try."""

from __future__ import annotations

from .base import make_base, pack_folder
from .errors import ServerError
from .folder import HostFolder
from .server import Server, check_free


def serve(host: HostFolder, *, version: str, port: int) -> int:
    """Run a server until Ctrl-C; what the person makes and saves stays in the host, from one time to the next."""
    if not host.tree(version).is_dir():
        raise ServerError(f"there is no ComfyUI {version} in {host.root}: run `make comfy`")
    check_free(port)
    base = make_base(host.root / "base", packs={"skipstep": pack_folder("repository")})
    with Server(host, version=version, base=base, port=port) as server:
        print(f"ComfyUI {version} is starting; its log is {server.log}", flush=True)
        server.wait()
        print(f"open {server.url}, and press Ctrl-C here to end it", flush=True)
        try:
            return server.join()
        except KeyboardInterrupt:
            return 0
