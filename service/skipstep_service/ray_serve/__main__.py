"""`python -m skipstep_service.ray_serve deploy|shutdown ADDRESS`: in a process of its own, as Ray's library ends its
process when the cluster dies."""

from __future__ import annotations

import logging
import sys

import ray
from ray import serve
from ray.serve.config import HTTPOptions, ProxyLocation

from ..settings import settings_of
from .deployment import application
from .ingress import APP


def main(word: str, address: str) -> None:
    """Do it; it goes on when this process has ended."""
    ray.init(address=address, namespace="serve", log_to_driver=False, logging_level=logging.WARNING)
    if word == "shutdown":
        serve.shutdown()
        return
    settings = settings_of()
    options = HTTPOptions(host=settings.host, port=settings.port, location=ProxyLocation.EveryNode)
    serve.start(http_options=options, logging_config={"enable_access_log": False})
    serve.run(application(settings), name=APP, route_prefix="/", logging_config={"enable_access_log": False})


if __name__ == "__main__":
    main(*sys.argv[1:])
