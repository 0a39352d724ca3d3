"""Rows of a file of any size, by number: an index of where each begins, and a bounded search.

A view is a folder: `index.bin` has 16 bytes for each row, and `rows.jsonl` the rows as JSON lines, unless the file is
JSON lines itself. What is broken is a row too, so that it can be looked at and dropped.
"""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.core import clock
from luthier.core.durable_files import FileWriter
from luthier.core.errors import DataError
from luthier.data.formats import Format, Row
from luthier.data.formats.jsonl import JsonLines, parse
from luthier.data.formats.lines import LINE_CAP
from luthier.data.samples import Finding

INDEX, ROWS = "index.bin", "rows.jsonl"
_RECORD = struct.Struct("<QII")
"""Offset, bytes (the highest bit: what stands there is a problem and no row), line."""
_PROBLEM = 1 << 31
_FLUSH = 1 << 16
_SHOWN_COLUMNS = 200
"""Rows that are read to learn the columns of a format that does not declare them."""
SEARCH_ROWS = 4096
"""Rows that are searched together."""
LONGEST_TEXT = 4000
"""Characters of a text in a page of several rows; a page of one row has all."""
PAGE_BYTES = 4 * 2**20
"""Of the rows of one page; it ends early where there would be more."""


@dataclass(frozen=True, slots=True)
class ViewFacts:
    """What is known once a file was read. `own`: its rows are read from the file itself."""

    rows: int
    columns: list[str]
    own: bool


def write_view(item: Format, folder: Path, *, most_bytes: int) -> ViewFacts:
    """Write the view of a file into `folder`.

    Raises:
        DataError: the file cannot be read, or its rows have more than `most_bytes` bytes (a bomb).
    """
    if isinstance(item, JsonLines) and not _compressed(item.path):
        rows = _index_lines(item, folder)
        own = True
    else:
        rows = _write_rows(item, folder, most_bytes)
        own = False
    return ViewFacts(rows, item.header() or _seen_columns(item), own)


def _compressed(path: str) -> bool:
    with open(path, "rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def _seen_columns(item: Format) -> list[str]:
    names: dict[str, None] = {}
    for number, row in enumerate(item.rows()):
        if number >= _SHOWN_COLUMNS:
            break
        if isinstance(row, Row):
            names.update(dict.fromkeys(row.values))
    return list(names)[:1000]


def _index_lines(item: JsonLines, folder: Path) -> int:
    rows = offset = line = 0
    records = bytearray()
    with open(item.path, "rb", buffering=1 << 20) as stream, FileWriter(folder / INDEX) as index:
        while data := stream.readline(LINE_CAP + 1):
            line += 1
            length = len(data)
            while not data.endswith(b"\n") and (more := stream.readline(1 << 16)):
                length += len(more)
                data = more
            if length > LINE_CAP or not data.isspace():
                records += _RECORD.pack(offset, min(length, _PROBLEM - 1), line)
                rows += 1
            offset += length
            if len(records) >= _FLUSH:
                index.write(bytes(records))
                records.clear()
        index.write(bytes(records))
        index.commit()
    return rows


def _write_rows(item: Format, folder: Path, most_bytes: int) -> int:
    rows = offset = 0
    records, pending = bytearray(), bytearray()
    with FileWriter(folder / INDEX) as index, FileWriter(folder / ROWS) as out:
        for row in item.rows():
            broken = isinstance(row, Finding)
            data = _encoded(row) + b"\n"
            records += _RECORD.pack(offset, len(data) | (_PROBLEM if broken else 0), row.line)
            pending += data
            offset += len(data)
            rows += 1
            if offset > most_bytes:
                raise DataError(
                    f"the rows of this file have more than {most_bytes:,} bytes once they are unpacked.",
                    where=item.path, remedy="Give a smaller file.", code="too_large",
                )  # fmt: skip
            if len(pending) >= _FLUSH:
                out.write(bytes(pending))
                index.write(bytes(records))
                pending.clear()
                records.clear()
        out.write(bytes(pending))
        index.write(bytes(records))
        out.commit()
        index.commit()
    return rows


def _encoded(row: Row | Finding) -> bytes:
    value = row.values if isinstance(row, Row) else {"code": row.code, "message": row.message, "remedy": row.remedy}
    return json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace")


class RowView:
    """The view of a file. `number` counts rows from 1. `own`: its rows are read from the file itself."""

    def __init__(self, folder: Path, file: Path) -> None:
        self._index = folder / INDEX
        rows = folder / ROWS
        self.own = not rows.is_file()
        self._rows = file if self.own else rows
        self.count = self._index.stat().st_size // _RECORD.size

    def page(self, after: int, limit: int) -> tuple[list[dict[str, Any]], int]:
        """Up to `limit` rows after the number `after`; (rows, number of the last one that was looked at)."""
        records = self._records(after, limit)
        found: list[dict[str, Any]] = []
        left = PAGE_BYTES
        with open(self._rows, "rb") as stream:
            for number, record in enumerate(records, start=after + 1):
                size = record[1] & ~_PROBLEM
                size = 0 if size > LINE_CAP else size  # shown as a problem, without its text
                if found and size > left:
                    return found, number - 1
                left -= size
                found.append(self._shown(number, record, self._read(stream, record), whole=limit == 1))
        return found, after + len(records)

    def search(self, text: str, after: int, limit: int, seconds: float) -> tuple[list[dict[str, Any]], int]:
        """Rows after `after` whose texts hold `text`, whatever the case; stops after `seconds`.

        Returns:
            (rows, number of the last row that was looked at): the search goes on from there.
        """
        found: list[dict[str, Any]] = []
        needle = text.casefold()
        marks = {json.dumps(text, ensure_ascii=ascii_only)[1:-1].casefold() for ascii_only in (False, True)}
        until = clock.monotonic() + seconds
        left = PAGE_BYTES
        with open(self._rows, "rb") as stream:
            while after < self.count:
                records = self._records(after, SEARCH_ROWS)
                begin, last = records[0][0], records[-1]
                stream.seek(begin)
                size = last[0] + (last[1] & ~_PROBLEM) - begin
                block = None if size > 16 * 2**20 else stream.read(size)
                if block is not None and not self._may_hold(block, marks, needle):
                    after += len(records)
                else:
                    for number, record in enumerate(records, start=after + 1):
                        length, start = record[1] & ~_PROBLEM, record[0] - begin
                        data = self._read(stream, record) if block is None else block[start : start + length]
                        after = number
                        if not self._may_hold(data, marks, needle):
                            continue
                        shown = self._shown(number, record, data, whole=True)
                        if _holds(shown["values"] or shown["problem"], needle):
                            found.append(_cut(shown))
                            left -= length
                            if len(found) == limit or left < 0:
                                return found, number
                        if clock.monotonic() > until:
                            return found, number
                if clock.monotonic() > until:
                    break
        return found, after

    def lines(self) -> Iterator[tuple[int, int]]:
        """(number, line) of every row."""
        for after in range(0, self.count, SEARCH_ROWS):
            for number, record in enumerate(self._records(after, SEARCH_ROWS), start=after + 1):
                yield number, record[2]

    def each(self, needs: Callable[[int], bool]) -> Iterator[tuple[int, int, bytes, dict[str, Any] | None]]:
        """(number, line, bytes as they are stored, values) of every row. Values are None where `needs(number)` is
        False, which saves most of the time, and where the row is broken."""
        with open(self._rows, "rb", buffering=1 << 20) as stream:
            for after in range(0, self.count, SEARCH_ROWS):
                for number, record in enumerate(self._records(after, SEARCH_ROWS), start=after + 1):
                    data = self._read(stream, record)
                    yield number, record[2], data, self._parsed(record, data)[0] if needs(number) else None

    def _records(self, after: int, limit: int) -> list[tuple[int, int, int]]:
        with open(self._index, "rb") as stream:
            stream.seek(after * _RECORD.size)
            data = stream.read(limit * _RECORD.size)
        return list(_RECORD.iter_unpack(data[: len(data) // _RECORD.size * _RECORD.size]))

    @staticmethod
    def _read(stream: Any, record: tuple[int, int, int]) -> bytes:
        if stream.tell() != record[0]:
            stream.seek(record[0])
        data: bytes = stream.read(min(record[1] & ~_PROBLEM, LINE_CAP + 1))
        return data

    def _may_hold(self, data: bytes, marks: set[str], needle: str) -> bool:
        """Whether the stored text may hold it: rows with escapes are looked at closely."""
        text = data.decode("utf-8", "replace").casefold()
        return any(mark in text for mark in marks) or needle in text or (self.own and "\\u" in text)

    def _parsed(self, record: tuple[int, int, int], data: bytes) -> tuple[dict[str, Any] | None, dict[str, str] | None]:
        """(values, problem), one of them."""
        if not self.own:
            value = json.loads(data)
            return (None, value) if record[1] & _PROBLEM else (value, None)
        found: Row | Finding
        if len(data) > LINE_CAP:
            words = f"this line has more than {LINE_CAP:,} bytes."
            return None, {"code": "line_too_long", "message": words, "remedy": "Split the text into several rows."}
        try:
            text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8").strip("\r\n")
        except UnicodeDecodeError as error:
            words = f"this line is not UTF-8: byte 0x{data[error.start]:02x} at byte {error.start} of the line."
            return None, {"code": "wrong_encoding", "message": words, "remedy": "Save the file as UTF-8."}
        found = parse(text, record[2], "")
        if isinstance(found, Finding):
            return None, {"code": found.code, "message": found.message, "remedy": found.remedy}
        return found.values, None

    def _shown(self, number: int, record: tuple[int, int, int], data: bytes, *, whole: bool) -> dict[str, Any]:
        values, problem = self._parsed(record, data)
        raw = data[: LONGEST_TEXT * 4].decode("utf-8", "replace").strip("\r\n")[:LONGEST_TEXT]
        shown: dict[str, Any] = {
            "row": number, "line": record[2], "values": values, "problem": problem,
            "text": raw if problem is not None and self.own else None, "cut": False,
        }  # fmt: skip
        return shown if whole else _cut(shown)


def _cut(shown: dict[str, Any]) -> dict[str, Any]:
    """The row with its long texts cut, and a word where one was."""
    cut = False

    def shorter(value: Any) -> Any:
        nonlocal cut
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            cut = True
            return value[:LONGEST_TEXT]
        if isinstance(value, dict):
            return {name: shorter(item) for name, item in value.items()}
        return [shorter(item) for item in value] if isinstance(value, list) else value

    values = shorter(shown["values"])
    return {**shown, "values": values, "cut": cut}


def _holds(value: Any, needle: str) -> bool:
    """Whether a text, number or key's value somewhere in `value` holds the case-folded `needle`."""
    with contextlib.suppress(RecursionError):
        if isinstance(value, dict):
            return any(_holds(item, needle) for item in value.values())
        if isinstance(value, list):
            return any(_holds(item, needle) for item in value)
        return value is not None and needle in str(value).casefold()
    return False
