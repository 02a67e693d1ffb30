"""Connections to SQLite or PostgreSQL, with the tables as this release wants them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from skipstep.errors import MissingExtraError, OptionError

MIGRATIONS = Path(__file__).parent / "migrations"


def open_database(url: str, *, synchronous: str = "FULL") -> sa.Engine:
    """An engine for `sqlite:///path` or `postgresql+psycopg://...`, migrated.

    `synchronous` is SQLite's: FULL survives a power cut, NORMAL a killed process.

    Raises:
        OptionError: if the URL is of neither kind, or the database cannot be opened.
        MissingExtraError: if PostgreSQL's driver is not installed.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise OptionError(f"store must be sqlite:///PATH or postgresql+psycopg://..., got {url!r}") from error
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    elif parsed.get_backend_name() != "sqlite":
        raise OptionError(f"store must be sqlite:///PATH or postgresql+psycopg://..., got {parsed.drivername}://")
    try:
        engine = sa.create_engine(parsed, **_options(parsed))
    except ModuleNotFoundError as error:
        raise MissingExtraError("PostgreSQL needs psycopg: pip install 'skipstep[postgresql]'") from error
    if parsed.get_backend_name() == "sqlite":
        _set_up_sqlite(engine, synchronous)
    try:
        migrate(engine)
    except sa.exc.OperationalError as error:
        shown = parsed.render_as_string(hide_password=True)
        raise OptionError(f"cannot open the store {shown}: {error.orig}") from error
    return engine


def migrate(engine: sa.Engine) -> None:
    """Bring the tables to this release's form; does nothing if they have it."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _options(url: sa.URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"check_same_thread": False, "timeout": 10}}
    return {"pool_pre_ping": True, "pool_size": 10}


def _set_up_sqlite(engine: sa.Engine, synchronous: str) -> None:
    if synchronous not in ("FULL", "NORMAL"):
        raise OptionError(f"synchronous must be FULL or NORMAL, got {synchronous!r}")

    @sa.event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _: Any) -> None:
        connection.isolation_level = (
            None  # or Python's sqlite3 begins transactions late, and savepoints outside of them
        )
        for setting in ("journal_mode=WAL", f"synchronous={synchronous}", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {setting}")

    @sa.event.listens_for(engine, "begin")
    def _on_begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")
