"""Posts to hosts that clients name: each of their addresses is checked, and the one that is checked is the one used."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from datetime import datetime, timezone
from ipaddress import ip_address

import httpx
from httpx_secure import httpx_ssrf_protection

from skipstep import __version__

from .addresses import Address, Network, may_reach
from .signing import Signer
from .targets import Target, parse_target

_ADDRESSES = 3  # of a host that are tried


class SendError(Exception):
    """There was no answer, or nobody was asked: why, for the operator."""


class Sender:
    """Sends signed JSON; redirects are not followed, the environment's proxies not used, and answers not read.

    `allowed` are networks that may be reached besides the public internet; `timeout_s` is of all of a try.
    """

    def __init__(self, signer: Signer, *, allowed: Sequence[Network], timeout_s: float) -> None:
        self._signer = signer
        self._allowed = tuple(allowed)
        self._timeout_s = timeout_s
        self._tls = httpx.create_ssl_context()

    async def send(self, url: str, *, message_id: str, body: str) -> int:
        """The status of the answer.

        Raises:
            SendError: if there is none.
        """
        headers = self._signer.headers(message_id, body, now=datetime.now(timezone.utc))
        try:
            return await asyncio.wait_for(self._post(parse_target(url), headers, body), self._timeout_s)
        except asyncio.TimeoutError as error:
            raise SendError(f"no answer within {self._timeout_s:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            raise SendError(f"{type(error).__name__}: {error}") from error

    async def _post(self, target: Target, headers: dict[str, str], body: str) -> int:
        addresses = await self._addresses_of(target)
        for address in addresses[:-1]:
            try:
                return await self._post_at(address, target, headers, body)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._post_at(addresses[-1], target, headers, body)

    async def _post_at(self, address: Address, target: Target, headers: dict[str, str], body: str) -> int:
        client = httpx.AsyncClient(  # of one try: nothing is carried from one receiver to the next
            verify=self._tls,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(self._timeout_s, connect=self._timeout_s / _ADDRESSES),
        )
        protected = httpx_ssrf_protection(
            client,
            check_globally_reachable=not self._allowed,
            custom_validator=lambda _host, reached, _port: self._may_reach(reached, target),
        )
        sent = {
            **headers,
            "Host": target.authority,
            "Content-Type": "application/json",
            "User-Agent": f"skipstep/{__version__}",
        }
        named = {"sni_hostname": target.host}  # the certificate has to be the name's
        async with (
            protected,
            protected.stream(
                "POST", target.at(address), headers=sent, content=body.encode(), extensions=named
            ) as answer,
        ):
            return answer.status_code

    async def _addresses_of(self, target: Target) -> list[Address]:
        """Those to connect to, one after the other.

        Looked up here: httpx-secure connects to a name's addresses, be they private, to choose one that it then checks.

        Raises:
            SendError: if one of the name's addresses may not be reached.
            OSError: if it has none.
        """
        if target.address is not None:
            found = [target.address]
        else:
            loop = asyncio.get_running_loop()
            infos = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
            found = [ip_address(info[4][0]) for info in infos]
        if not all(self._may_reach(address, target) for address in found):
            raise SendError("the host has an address that may not be reached")
        return found[:_ADDRESSES]

    def _may_reach(self, address: Address, target: Target) -> bool:
        return may_reach(address, self._allowed, scheme=target.scheme)
