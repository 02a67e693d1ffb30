"""What can go wrong with a host.

HostError
├── HostUnavailableError  something could not be fetched: no network, or no such package here
├── InstallError          an installation failed for another reason
└── ServerError           a server did not start
"""

from __future__ import annotations


class HostError(RuntimeError):
    """A ComfyUI host cannot be had or used."""


class HostUnavailableError(HostError):
    """Something could not be fetched, which is not the fault of this repository."""


class InstallError(HostError):
    """Something could not be installed."""


class ServerError(HostError):
    """A server did not start or did not answer."""
