"""The journal on disk: whole transactions, one writer at a time, and nothing torn after a crash."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from luthier.core.errors import StorageError
from luthier.search.journal import FileJournal, MemoryJournal


def write(path: Path, worker: int, count: int) -> None:
    journal = FileJournal(path)
    for number in range(count):
        with journal.exclusive() as book:
            book.append([{"worker": worker, "number": number, "after": len(book.read(0))}])


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_what_was_appended_is_read_from_any_number(kind: str, tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "journal.jsonl") if kind == "file" else MemoryJournal()
    assert journal.read(0) == []
    with journal.exclusive() as book:
        book.append([{"a": 1}, {"b": "ü\n"}])
        book.append([{"c": None}])
    assert journal.read(0) == [[{"a": 1}, {"b": "ü\n"}], [{"c": None}]]
    assert journal.read(1) == [[{"c": None}]]
    assert journal.read(2) == []


def test_another_process_sees_what_was_added(tmp_path: Path) -> None:
    one, two = FileJournal(tmp_path / "journal.jsonl"), FileJournal(tmp_path / "journal.jsonl")
    for number in range(3):
        with one.exclusive() as book:
            book.append([{"n": number}])
        assert two.read(number) == [[{"n": number}]]


def test_four_processes_write_one_after_another(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=write, args=(path, worker, 25)) for worker in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    entries = [entries[0] for entries in FileJournal(path).read(0)]
    assert [entry["after"] for entry in entries] == list(range(100))
    for worker in range(4):
        assert [entry["number"] for entry in entries if entry["worker"] == worker] == list(range(25))


def test_half_a_line_is_no_transaction_and_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = FileJournal(path)
    with journal.exclusive() as book:
        book.append([{"n": 0}])
    with open(path, "ab") as handle:
        handle.write(b'{"entries": [{"n": 1}, {"n"')  # a crash in the middle of a write
    assert FileJournal(path).read(0) == [[{"n": 0}]]
    with FileJournal(path).exclusive() as book:
        book.append([{"n": 2}])
    assert journal.read(0) == [[{"n": 0}], [{"n": 2}]]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    FileJournal(path)
    path.write_bytes(b'{"entries": []}\nwhat is this\n')
    with pytest.raises(StorageError) as caught:
        FileJournal(path).read(0)
    assert caught.value.code == "journal_damaged"
    assert str(caught.value).startswith(f"{path}:2: ")


def test_a_number_that_is_no_json_is_refused(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "journal.jsonl")
    with pytest.raises(ValueError, match="JSON"), journal.exclusive() as book:
        book.append([{"loss": float("nan")}])
    assert journal.read(0) == []
