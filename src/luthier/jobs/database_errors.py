"""Errors of SQLAlchemy and the drivers as ours. None of them becomes a traceback or a plain 500."""

from __future__ import annotations

import sqlite3

from sqlalchemy import URL
from sqlalchemy import exc as failures

from luthier.core.errors import LuthierError, StorageError
from luthier.jobs.errors import Conflict, InvalidValue, Unavailable

_RETRY = "Try again in a moment."


def problem(error: failures.SQLAlchemyError) -> LuthierError | None:
    """What `error` means to a caller; None: it is a mistake in this program."""
    original = getattr(error, "orig", None)
    if isinstance(original, LuthierError):  # raised by a column type
        return original
    if isinstance(original, sqlite3.Error):
        return _sqlite_problem(original)
    if isinstance(error, failures.IntegrityError):
        return Conflict("this contradicts what is stored already.", remedy="Read it again, then repeat the call.")
    if isinstance(error, failures.DataError):
        return InvalidValue("a value does not fit into the database.", code="invalid_value")
    if isinstance(error, failures.TimeoutError | failures.OperationalError | failures.InterfaceError):
        return Unavailable("the database does not answer.", remedy=_RETRY)
    if isinstance(error, failures.DBAPIError) and error.connection_invalidated:
        return Unavailable("the connection to the database was lost.", remedy=_RETRY)
    return None


def _sqlite_problem(error: sqlite3.Error) -> LuthierError | None:
    name = getattr(error, "sqlite_errorname", "") or ""
    if isinstance(error, sqlite3.IntegrityError):
        return Conflict("this contradicts what is stored already.", remedy="Read it again, then repeat the call.")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return Unavailable("the database is locked by a program that reads it.", remedy=_RETRY)
    if name.startswith("SQLITE_FULL"):
        return StorageError(
            "the disk is full, so the database could not be written.",
            remedy="Free some space; what was stored before is intact.",
            code="disk_full",
        )
    if name.startswith("SQLITE_IOERR"):
        return StorageError(
            "the disk reported an error while the database was read or written; the change was not made.",
            remedy="Check the disk.",
            code="write_failed",
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return StorageError(
            "the database file cannot be opened for writing.",
            remedy="Check the permissions of the file and of its folder.",
            code="no_permission",
        )
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return StorageError(
            "the database file is damaged, or it is no database.",
            remedy="Restore it from a backup, or move it away to start with an empty one.",
            code="database_damaged",
        )
    return None


def open_problem(error: BaseException, url: URL) -> LuthierError | None:
    """What an error while opening `url` means; None: it says so itself, or is a mistake in this program."""
    if not isinstance(error, failures.SQLAlchemyError):
        return None
    place = url.render_as_string(hide_password=True)
    original = getattr(error, "orig", None)
    if isinstance(original, LuthierError):
        return None
    known = problem(error)
    if isinstance(error, failures.OperationalError) and isinstance(known, Unavailable) and original is not None:
        known.message = f"the database does not answer: {_first_line(original)}."
    if known is None and isinstance(error, failures.DBAPIError):
        known = StorageError(
            f"the database cannot be set up: {_first_line(original)}.",
            remedy="Choose an empty database, or one that Luthier made.",
            code="database_foreign",
        )
    if known is not None:
        known.where = place
    return known


def _first_line(error: BaseException | None) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0].rstrip(".")
