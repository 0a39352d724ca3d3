"""A journal over a socket: what several processes write comes one after another, and a death leaves nothing half."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from luthier.core.errors import StorageError
from luthier.search.journal import Book, MemoryJournal, Transaction
from luthier.search.journal_pipe import PipedJournal, serve


class OneAtATime(MemoryJournal):
    """As the journal of a job is: threads wait for each other."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    @contextmanager
    def exclusive(self) -> Iterator[Book]:
        with self._lock:
            yield self


class Pipes:
    def __init__(self) -> None:
        self.kept = OneAtATime()
        self.alive = 0
        self._threads: list[threading.Thread] = []
        self._open: list[PipedJournal] = []

    def serve(self, connection: socket.socket) -> None:
        self._threads.append(serve(self.kept, connection, self._lives))

    def journal(self) -> PipedJournal:
        ours, theirs = socket.socketpair()
        self.serve(ours)
        self._open.append(PipedJournal(theirs))
        return self._open[-1]

    def _lives(self) -> None:
        self.alive += 1

    def close(self) -> None:
        for journal in self._open:
            journal.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    pipes = Pipes()
    yield pipes
    pipes.close()


def entry(**values: Any) -> Transaction:
    return [values]


def test_what_was_appended_is_read_from_any_number(pipes: Pipes) -> None:
    journal = pipes.journal()
    assert journal.read(0) == []
    with journal.exclusive() as book:
        book.append([{"a": 1}, {"b": "\u00fc\n"}])
        assert book.read(0) == [[{"a": 1}, {"b": "\u00fc\n"}]]
        book.append(entry(c=None))
    assert journal.read(1) == pipes.journal().read(1) == [entry(c=None)]
    assert pipes.kept.read(0) == [[{"a": 1}, {"b": "\u00fc\n"}], entry(c=None)]


def test_signs_of_life_are_heard(pipes: Pipes) -> None:
    journal = pipes.journal()
    journal.alive()
    journal.read(0)
    assert pipes.alive == 2


def write(connection: socket.socket, worker: int, count: int) -> None:
    journal = PipedJournal(connection)
    for number in range(count):
        with journal.exclusive() as book:
            book.append(entry(worker=worker, number=number, after=len(book.read(0))))
    os._exit(0)


def test_four_processes_write_one_after_another(pipes: Pipes) -> None:
    context = multiprocessing.get_context("fork")
    pairs = [socket.socketpair() for _ in range(4)]
    processes = [context.Process(target=write, args=(pairs[worker][1], worker, 25)) for worker in range(4)]
    for process in processes:
        process.start()
    for ours, theirs in pairs:  # no thread before the last fork
        theirs.close()
        pipes.serve(ours)
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    entries = [entries[0] for entries in pipes.kept.read(0)]
    assert [found["after"] for found in entries] == list(range(100))
    for worker in range(4):
        assert [found["number"] for found in entries if found["worker"] == worker] == list(range(25))


def hold(connection: socket.socket) -> None:
    with PipedJournal(connection).exclusive() as book:
        book.append(entry(n=0))
        connection.sendall(b'{"do": "append", "entries": [{"n": 1')  # killed while it writes
        time.sleep(60)


def test_who_dies_with_the_lock_lets_go_of_it_and_leaves_nothing_half(pipes: Pipes) -> None:
    context = multiprocessing.get_context("fork")
    ours, theirs = socket.socketpair()
    process = context.Process(target=hold, args=(theirs,))
    process.start()
    theirs.close()
    pipes.serve(ours)
    until = time.monotonic() + 20
    while not pipes.kept.read(0):
        assert time.monotonic() < until
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(20)
    with pipes.journal().exclusive() as book:
        assert book.read(0) == [entry(n=0)]
        book.append(entry(n=2))
    assert pipes.kept.read(0) == [entry(n=0), entry(n=2)]


def test_without_the_other_side_it_is_told() -> None:
    ours, theirs = socket.socketpair()
    journal = PipedJournal(theirs)
    ours.close()
    for call in (lambda: journal.read(0), journal.alive):
        with pytest.raises(StorageError) as caught:
            call()
        assert caught.value.code == "journal_gone"
    journal.close()


def test_a_number_that_is_no_json_is_refused(pipes: Pipes) -> None:
    journal = pipes.journal()
    with pytest.raises(ValueError, match="Out of range float"), journal.exclusive() as book:
        book.append(entry(loss=float("nan")))
    with journal.exclusive() as book:  # and the lock is free
        assert book.read(0) == []
