"""What `luthier doctor` tries of the service: its packages, its port and its database, by the LUTHIER_ variables."""

from __future__ import annotations

import importlib.util
import os
import socket
from typing import TYPE_CHECKING

from luthier.cli.probes import Probe
from luthier.core.errors import LuthierError, StorageError, UsageError

if TYPE_CHECKING:
    from luthier.server.settings import ServerSettings

PACKAGES = ("fastapi", "starlette", "uvicorn", "httptools", "python_multipart", "sqlalchemy", "alembic",
            "prometheus_client")  # fmt: skip
URL_REMEDY = (
    "LUTHIER_DATABASE is no address of a database that is supported.",
    "Use sqlite:///path or postgresql+psycopg://user:password@host/name.",
)
INSTALL = "pip install 'luthier[serve]'"


def require_packages() -> None:
    """Raise `UsageError` where the packages of `luthier serve` are not installed."""
    lack = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if lack:
        raise UsageError(
            f"luthier serve lacks {', '.join(lack)}.", remedy=f"Install them: {INSTALL}.", code="missing_package"
        )


def service() -> Probe:
    """The packages and the port of `luthier serve`."""
    try:
        require_packages()
    except UsageError as error:
        return Probe("service", "note", error.message, error.remedy)
    try:
        settings = _settings()
    except LuthierError as error:
        return Probe("service", "note", error.message, error.remedy)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((settings.host.strip("[]"), settings.port))
    except OSError as error:
        found = f"{settings.host} port {settings.port}: {error.strerror or error}."
        return Probe("service", "note", found, "A server may run there already; luthier serve --port N takes another.")
    return Probe("service", "ok", f"luthier serve can listen on {settings.host} port {settings.port}")


def database() -> Probe:
    """Where the service keeps jobs and keys; PostgreSQL is asked, SQLite is only looked for."""
    if importlib.util.find_spec("sqlalchemy") is None:
        return Probe("database", "note", "sqlalchemy is not installed.", f"Install it: {INSTALL}.")
    try:
        settings = _settings()
        if settings.database is None:
            known = "is there" if (settings.home / "luthier.db").exists() else "is made at the first start"
            return Probe("database", "ok", f"SQLite in {settings.home}, {known}")
        if settings.database.startswith("sqlite"):
            return Probe("database", "ok", "SQLite, where LUTHIER_DATABASE says")
        _ask(settings.database)
    except LuthierError as error:
        return Probe("database", "note", f"luthier serve cannot use it: {error.message}", error.remedy)
    return Probe("database", "ok", "PostgreSQL answers")


def _ask(address: str) -> None:
    """One question to PostgreSQL, which changes nothing there. Errors never hold the password."""
    import sqlalchemy as sql
    from sqlalchemy.exc import ArgumentError

    from luthier.jobs.database_errors import open_problem

    try:
        url = sql.make_url(address)
    except (ArgumentError, ValueError):
        raise StorageError(URL_REMEDY[0], remedy=URL_REMEDY[1], code="invalid_database_url") from None
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise StorageError(URL_REMEDY[0], remedy=URL_REMEDY[1], code="unsupported_database")
    if importlib.util.find_spec("psycopg") is None:
        raise StorageError(
            "the PostgreSQL driver is not installed.",
            remedy="Install it: pip install 'luthier[postgres]'.",
            code="missing_driver",
        )
    url = url.set(drivername="postgresql+psycopg")
    engine = sql.create_engine(url, connect_args={} if "connect_timeout" in url.query else {"connect_timeout": 5})
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
    except Exception as error:
        known = open_problem(error, url)
        if known is None:
            raise
        raise known from error
    finally:
        engine.dispose()


def _settings() -> ServerSettings:
    from luthier.server.settings import from_sources

    return from_sources({}, os.environ)
