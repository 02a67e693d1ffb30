"""Which addresses may be sent to: those of the public internet, and what the operator allows beyond."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# IANA's special-purpose registries. Not `is_global`: that differs between releases of Python, and lets multicast,
# 6to4, IPv4 in IPv6 and site-local through
_NOT_PUBLIC_4 = tuple(
    IPv4Network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        "168.63.129.16/32",  # of Azure's hosts, for their machines
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    IPv6Network(text)
    for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")  # with Teredo and 6to4, which hold an IPv4
)
_NAT64 = IPv6Network("64:ff9b::/96")  # how machines without IPv4 reach it (RFC 6052)


def is_public(address: Address) -> bool:
    """Whether it is a host's on the internet, whatever the form it is written in."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    if address in _NAT64:
        return is_public(IPv4Address(address.packed[-4:]))
    return address in _GLOBAL_UNICAST and not any(address in network for network in _NOT_PUBLIC_6)


def is_allowed(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether one of the operator's networks has it."""
    return any(address in network for network in allowed)


def may_reach(address: Address, allowed: Sequence[Network], *, scheme: str) -> bool:
    """Whether to send there; without TLS only where the operator said so."""
    return is_allowed(address, allowed) or (scheme == "https" and is_public(address))
