"""A journal that one process holds, for others that it starts: each talks to it over a socket of its own.

For searches whose journal is not a file: the workers need no address and no key of where it is kept. JSON lines: the
worker asks ``{"do": "read", "start": n}``, ``lock``, ``append`` (with ``entries``) and ``unlock``, each of which is
answered; ``alive`` is not. A worker that dies lets go of the lock, and what it had not sent whole was never written.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from luthier.core.errors import StorageError
from luthier.search.journal import Book, Journal, Transaction


def serve(journal: Journal, connection: socket.socket, alive: Callable[[], object]) -> threading.Thread:
    """Answer on `connection`, in a thread, until the other side is gone. `alive` is called at each sign of life."""
    thread = threading.Thread(target=_serve, args=(journal, connection, alive), name="journal", daemon=True)
    thread.start()
    return thread


def _serve(journal: Journal, connection: socket.socket, alive: Callable[[], object]) -> None:
    with contextlib.suppress(OSError), connection, connection.makefile("rb") as lines:
        asked = _whole(lines)
        for one in asked:
            alive()
            if one["do"] == "read":
                _send(connection, journal.read(one["start"]))
            elif one["do"] == "lock":
                with journal.exclusive() as book:
                    _send(connection)
                    _serve_book(book, connection, asked)


def _serve_book(book: Book, connection: socket.socket, asked: Iterator[dict[str, Any]]) -> None:
    for one in asked:
        if one["do"] == "unlock":
            _send(connection)
            return
        if one["do"] == "read":
            _send(connection, book.read(one["start"]))
        elif one["do"] == "append":
            book.append(one["entries"])
            _send(connection)


def _whole(lines: Any) -> Iterator[dict[str, Any]]:
    """The lines that came to their end."""
    for line in lines:
        if not line.endswith(b"\n"):
            return
        yield json.loads(line)


def _send(connection: socket.socket, transactions: list[Transaction] | None = None) -> None:
    connection.sendall(json.dumps({"transactions": transactions or []}, separators=(",", ":")).encode() + b"\n")


class PipedJournal:
    """The other end: a journal that another process holds. For one thread."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._answers = connection.makefile("rb")

    def read(self, start: int) -> list[Transaction]:
        """The transactions from number `start` on."""
        return self._ask(do="read", start=start)

    @contextmanager
    def exclusive(self) -> Iterator[Book]:
        """This journal, while the others wait."""
        self._ask(do="lock")
        try:
            yield self
        finally:
            self._ask(do="unlock")

    def append(self, entries: Transaction) -> None:
        """Add one transaction; only inside `exclusive`."""
        self._ask(do="append", entries=entries)

    def alive(self) -> None:
        """Say that this process is at work."""
        self._say(do="alive")

    def close(self) -> None:
        """Hang up."""
        self._answers.close()
        self._connection.close()

    def _say(self, **asked: Any) -> None:
        try:
            self._connection.sendall(json.dumps(asked, allow_nan=False, separators=(",", ":")).encode() + b"\n")
        except OSError:
            raise _gone() from None

    def _ask(self, **asked: Any) -> list[Transaction]:
        self._say(**asked)
        line = self._answers.readline()
        if not line.endswith(b"\n"):
            raise _gone()
        found: list[Transaction] = json.loads(line)["transactions"]
        return found


def _gone() -> StorageError:
    return StorageError(
        "the process that holds the journal of this search is gone.", remedy="Go on with the search.",
        code="journal_gone",
    )  # fmt: skip
