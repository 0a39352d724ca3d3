"""The journal of a study: an append-only list of transactions that several processes share.

A transaction is what one decision wrote: all of it is there after a crash, or nothing. On disk it is one line of JSON,
fsynced, under a lock that the kernel lets go of when its process ends; `jobs.search_rows` keeps the same list in a
database.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from luthier.core import durable
from luthier.core.durable_files import exclusive
from luthier.core.errors import StorageError

Entry = dict[str, Any]
Transaction = list[Entry]


class Book(Protocol):
    """A journal that this process alone may write now."""

    def read(self, start: int) -> list[Transaction]:
        """The transactions from number `start` on."""

    def append(self, entries: Transaction) -> None:
        """Add one transaction, durable when this returns or when the book is closed."""


class Journal(Protocol):
    """Where a study is kept."""

    def read(self, start: int) -> list[Transaction]:
        """The transactions from number `start` on, as they are at this moment."""

    def exclusive(self) -> AbstractContextManager[Book]:
        """Wait until nobody else writes, and keep others from it."""


class FileJournal:
    """A journal in a file of JSON lines, ``{"entries": [...]}``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = path.with_name(path.name + ".lock")
        self._offsets = [0]
        """Where the line of each transaction begins, as far as this process has read."""
        if not path.exists():
            with exclusive(self._lock):
                if not path.exists():
                    durable.write_text(path, "")

    def read(self, start: int) -> list[Transaction]:
        """The whole lines from number `start` on; a line that a crash left half written is none.

        Raises:
            StorageError: `journal_damaged`.
        """
        known = min(start, len(self._offsets) - 1)
        del self._offsets[known + 1 :]
        found: list[Transaction] = []
        with open(self.path, "rb") as handle:
            handle.seek(self._offsets[known])
            for line in handle:
                if not line.endswith(b"\n"):
                    break
                try:
                    entries = json.loads(line)["entries"]
                except (ValueError, KeyError, TypeError):
                    raise StorageError(
                        "the journal of this search is damaged.", where=f"{self.path}:{len(self._offsets)}",
                        remedy="Remove this line and all below it to go on from there, or begin a new search.",
                        code="journal_damaged",
                    ) from None  # fmt: skip
                if len(self._offsets) > start:
                    found.append(entries)
                self._offsets.append(self._offsets[-1] + len(line))
        return found

    @contextmanager
    def exclusive(self) -> Iterator[Book]:
        """This journal, under the lock of its file."""
        with exclusive(self._lock):
            yield self

    def append(self, entries: Transaction) -> None:
        """Write one line and fsync it; only inside `exclusive`."""
        log = durable.AppendLog(self.path)  # cuts what a crash left of a line
        try:
            log.append({"entries": entries})
        finally:
            log.close()


class MemoryJournal:
    """A journal that ends with its process: for one process that searches for itself."""

    def __init__(self) -> None:
        self._transactions: list[Transaction] = []

    def read(self, start: int) -> list[Transaction]:
        """The transactions from number `start` on."""
        return self._transactions[start:]

    @contextmanager
    def exclusive(self) -> Iterator[Book]:
        """Nobody else is there."""
        yield self

    def append(self, entries: Transaction) -> None:
        """Add one."""
        self._transactions.append(json.loads(json.dumps(entries, allow_nan=False)))
