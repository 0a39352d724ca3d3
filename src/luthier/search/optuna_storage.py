"""Optuna over our journal. Imported inside functions only: Optuna is an optional package.

Optuna's `JournalStorage` keeps its state by replaying log entries; ours come in transactions. A trial that waits at a
rung is running for Optuna, which then would learn nothing from it: `StudyStorage` shows it as what a sampler
understands.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, TrialState

from luthier.search.journal import Book, Entry, Journal

View = Callable[[list[FrozenTrial]], list[FrozenTrial]]


class JournalBackend(BaseJournalBackend):
    """What `JournalStorage` reads and writes: single entries, which a transaction holds back until its end."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._entries: list[Entry] = []
        self._transactions = 0
        self._pending: list[Entry] = []
        self._book: Book | None = None
        self.is_stale = False
        """Whether the storage has applied entries that were never written."""

    def read_logs(self, log_number_from: int) -> list[Entry]:
        """The entries from this number on."""
        if self._book is None:
            self._pull(self._journal)
        whole = len(self._entries)
        if log_number_from >= whole:
            return self._pending[log_number_from - whole :]
        return self._entries[log_number_from:] + self._pending

    def append_logs(self, logs: list[Entry]) -> None:
        """Add entries, to the transaction that is open or as one of their own."""
        with self.transaction():
            self._pending += logs

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is written inside is one transaction; after an exception none of it was."""
        if self._book is not None:
            yield
            return
        with self._journal.exclusive() as book:
            self._book = book
            try:
                self._pull(book)
                yield
                if self._pending:
                    book.append(self._pending)
                    self._entries += self._pending
                    self._transactions += 1
            except BaseException:
                self.is_stale = bool(self._pending)
                raise
            finally:
                self._pending = []
                self._book = None

    def _pull(self, source: Journal | Book) -> None:
        for entries in source.read(self._transactions):
            self._entries += entries
            self._transactions += 1


class StudyStorage(JournalStorage):
    """A `JournalStorage` whose trials a sampler sees through `view`."""

    def __init__(self, backend: JournalBackend, view: View) -> None:
        super().__init__(backend)
        self.backend = backend
        self.view = view

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials as samplers see them."""
        shown: list[FrozenTrial] = self.view(super().get_all_trials(study_id, deepcopy=deepcopy, states=None))
        return shown if states is None else [trial for trial in shown if trial.state in states]

    def as_kept(self, study_id: int) -> list[Any]:
        """The trials as the journal has them."""
        found: list[Any] = super().get_all_trials(study_id, deepcopy=False, states=None)
        return found
