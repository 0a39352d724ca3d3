"""The journal of a search in the store, as the worker of its job sees it: through its supervisor."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from luthier.core import durable_files
from luthier.jobs.worker_wire import Ask
from luthier.search.journal import Book, FileJournal, Transaction


class StoredJournal:
    """A `search.journal.Journal`. As long as the job is ours nobody else writes it, so it is read once."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._known: list[Transaction] = []
        while part := ask("journal", start=len(self._known))["entries"]:
            self._known += [json.loads(text) for text in part]

    def read(self, start: int) -> list[Transaction]:
        """The transactions from number `start` on."""
        return self._known[start:]

    @contextmanager
    def exclusive(self) -> Iterator[Book]:
        """This journal, for one thread."""
        with self._lock:
            yield self

    def append(self, entries: Transaction) -> None:
        """Add one transaction; it is committed when this returns."""
        text = json.dumps(entries, allow_nan=False, separators=(",", ":"))
        self._ask("journal", number=len(self._known), entries=text)
        self._known.append(json.loads(text))


def adopt(path: Path, journal: StoredJournal) -> None:
    """Take over what an older version kept in the file `path`; a worker that died at this goes on where it was."""
    if not path.is_file():
        return
    with journal.exclusive() as book:
        for entries in FileJournal(path).read(len(book.read(0))):
            book.append(entries)
    durable_files.remove_file(path)
