"""Logs as lines of JSON: of this service, and of the libraries under it."""

from __future__ import annotations

import logging
import sys

import structlog


def set_up_logs(*, level: int = logging.INFO) -> None:
    """Have everything that is logged in this process written to stderr, one line each, without local variables."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)  # or whole URLs of webhooks are logged, with their tokens
    root = logging.getLogger()
    root.handlers, root.level = [handler], level
