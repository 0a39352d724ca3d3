"""One database, SQLite or PostgreSQL: connections, transactions, and driver errors turned into ours.

SQLite has exactly one read-write connection, behind a lock. Before version 3.51.3 several writers in WAL mode can
corrupt a database, so those versions keep a rollback journal; the log says which.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy import URL, Connection, Engine, StaticPool, make_url
from sqlalchemy import exc as failures

from luthier.core import durable_files
from luthier.core.errors import LuthierError, StorageError
from luthier.jobs.database_errors import open_problem, problem
from luthier.jobs.upgrade import upgrade

logger = logging.getLogger("luthier.jobs")

WAL_IS_SOUND = (3, 51, 3)
"""The first SQLite release without the WAL-reset race."""
_BUSY_SECONDS = 5.0
"""How long to wait for somebody who reads the SQLite file from outside, such as a backup."""
_JOURNAL_BYTES = 4 * 2**20
"""The rollback journal is kept and overwritten, but no larger than this."""
_POSTGRES_POOL = {"pool_size": 10, "max_overflow": 20, "pool_timeout": 10, "pool_pre_ping": True}
_POSTGRES_CONNECT_SECONDS = 5


class Database:
    """Where statements run: `read` and `write` give a connection inside a transaction."""

    def __init__(self, url: str | Path) -> None:
        """Open and migrate.

        Raises:
            StorageError: the place cannot be used: no database, another process has it, or a newer version wrote it.
            Unavailable: PostgreSQL does not answer.
        """
        self.url = _parse(url)
        self.exclusive = self.url.get_backend_name() == "sqlite"
        """Whether no other process can change what is here."""
        self._held: durable_files.ProcessLock | None = None
        self._lock = threading.RLock()
        if self.exclusive:
            path = Path(str(self.url.database)).absolute()
            self._held = durable_files.ProcessLock(path.with_name(path.name + ".lock"), what="the database")
        try:
            if self.exclusive:
                durable_files.private_file(path)
            self._engine = _sqlite_engine(path) if self.exclusive else _postgres_engine(self.url)
            self._writing = self._engine.execution_options(luthier_write=True)
            self._reading = (
                self._engine if self.exclusive else self._engine.execution_options(isolation_level="AUTOCOMMIT")
            )
            self._check()
            upgrade(self._writing)
        except BaseException as error:
            self.close()
            known = open_problem(error, self.url)
            if known is None:
                raise
            raise known from error

    def _check(self) -> None:
        with self._reading.connect() as connection:
            if self.exclusive:
                mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
                logger.info(
                    "SQLite %s: journal mode %s, synchronous FULL%s",
                    sqlite3.sqlite_version,
                    mode,
                    "" if sqlite_has_sound_wal() else " (WAL is used from 3.51.3 on)",
                )
            elif (encoding := connection.exec_driver_sql("SHOW server_encoding").scalar_one()) != "UTF8":
                raise StorageError(
                    f"the PostgreSQL database has the encoding {encoding}, which cannot hold every text.",
                    remedy="Create it again with ENCODING 'UTF8'.",
                    code="database_encoding",
                )

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that only reads."""
        with self._one_at_a_time(), self._translated(), self._reading.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction: committed at the end, rolled back after an error."""
        with self._one_at_a_time(), self._translated(), self._writing.begin() as connection:
            yield connection

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        with self._lock if self.exclusive else nullcontext():
            yield

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except LuthierError:
            raise
        except failures.SQLAlchemyError as error:
            if _is_io_error(error):
                # What SQLite believes about the file may be wrong now; a new connection reads it, and its hot
                # journal, from the start.
                self._engine.dispose()
            known = problem(error)
            if known is None:
                raise
            raise known from error

    def holding(self) -> threading.RLock | nullcontext[None]:
        """The lock of the one connection: what is done under it is seen by no other call half done."""
        return self._lock if self.exclusive else nullcontext()

    def close(self) -> None:
        """Close every connection and let go of the file."""
        with self._lock:
            if engine := getattr(self, "_engine", None):
                engine.dispose()
            if self._held is not None:
                self._held.release()


def sqlite_has_sound_wal() -> bool:
    """Whether this SQLite may use a write-ahead log."""
    return sqlite3.sqlite_version_info >= WAL_IS_SOUND


def _parse(url: str | Path) -> URL:
    if isinstance(url, Path) or "://" not in url:
        return URL.create("sqlite", database=str(url))
    try:
        parsed = make_url(url)
    except (failures.ArgumentError, ValueError) as error:
        raise StorageError(
            "the database URL cannot be read.",
            remedy="Use sqlite:///path or postgresql+psycopg://user:password@host/name.",
            code="invalid_database_url",
        ) from error
    kind = parsed.get_backend_name()
    if kind in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if kind == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed
    raise StorageError(
        f"a database of the kind {parsed.drivername!r} is not supported.",
        remedy="Use sqlite:///path or postgresql+psycopg://user:password@host/name.",
        code="unsupported_database",
    )


def _sqlite_engine(path: Path) -> Engine:
    engine = sql.create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=StaticPool,
        connect_args={"check_same_thread": False, "timeout": _BUSY_SECONDS},
    )

    @sql.event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        # Python's own handling begins a transaction before INSERT, but not before CREATE TABLE: it is switched off.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=" + ("WAL" if sqlite_has_sound_wal() else "PERSIST"))
        connection.execute(f"PRAGMA journal_size_limit={_JOURNAL_BYTES}")
        # In PERSIST mode FULL also syncs the end of the commit; with DELETE a power cut could bring the journal back.
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    @sql.event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        write = connection.get_execution_options().get("luthier_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _postgres_engine(url: URL) -> Engine:
    try:
        return sql.create_engine(
            url,
            **_POSTGRES_POOL,
            connect_args={
                name: value
                for name, value in (("connect_timeout", _POSTGRES_CONNECT_SECONDS), ("application_name", "luthier"))
                if name not in url.query
            },
        )
    except ImportError as error:
        raise StorageError(
            "the PostgreSQL driver is not installed.",
            remedy="Install it: pip install 'luthier[postgres]'.",
            code="missing_driver",
        ) from error


def _is_io_error(error: failures.SQLAlchemyError) -> bool:
    original = getattr(error, "orig", None)
    return isinstance(original, sqlite3.Error) and original.sqlite_errorname.startswith("SQLITE_IOERR")
