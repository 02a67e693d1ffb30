"""URLs of webhooks, read strictly: what two parsers could read in two ways is refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from .addresses import Address, Network, may_reach

MAX_URL = 2000  # characters
_FORM = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]|[A-Za-z0-9.-]+)(:(?P<port>[0-9]{1,5}))?"
    r"(?P<rest>[/?][A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]*)?",
    re.ASCII,
)
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to post: `host` is a name, or an address without brackets; `rest` is the path and what follows it."""

    scheme: str
    host: str
    port: int
    rest: str

    @property
    def address(self) -> Address | None:
        """The host, if it is not a name."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        """As the Host header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def at(self, address: Address) -> str:
        """The URL with one address of the host in its place."""
        host = f"[{address}]" if address.version == 6 else str(address)
        return f"{self.scheme}://{host}:{self.port}{self.rest}"


def parse_target(url: str) -> Target:
    """The parts of a URL.

    Raises:
        ValueError: if it is no http or https URL in ASCII with a plain host, or has a user name or a fragment.
    """
    found = _FORM.fullmatch(url) if len(url) <= MAX_URL else None
    if found is None:
        raise ValueError(
            f"must be https://HOST/PATH of at most {MAX_URL} ASCII characters, without user name, password or fragment"
        )
    scheme, host = found["scheme"], found["host"].strip("[]").lower()
    port = _PORTS[scheme] if found["port"] is None else int(found["port"])
    rest = found["rest"] or "/"
    target = Target(scheme=scheme, host=host, port=port, rest=rest if rest.startswith("/") else f"/{rest}")
    if not 0 < port < 65536:
        raise ValueError("must have a port from 1 to 65535")
    if target.address is None and not _is_name(host):
        raise ValueError("must have a host that is a name, as hooks.example.com, or an address in its usual form")
    return target


def refusal(url: str, allowed: Sequence[Network]) -> str | None:
    """Why a URL of the right form is not sent to, as far as can be said without looking up its name."""
    target = parse_target(url)
    if target.scheme == "http" and not allowed:
        return "must be https"
    if target.address is not None and not may_reach(target.address, allowed, scheme=target.scheme):
        return "must not be an address of a private network"
    return None


def shown(url: str) -> str:
    """The URL without its query, where tokens are."""
    return url.partition("?")[0]


def _is_name(host: str) -> bool:
    """Whether nothing takes it for a number: 127.1, 0x7f.1 and 2130706433 are addresses to some."""
    labels = host.split(".")
    return len(host) <= 253 and all(map(_LABEL.fullmatch, labels)) and labels[-1][0].isalpha()
