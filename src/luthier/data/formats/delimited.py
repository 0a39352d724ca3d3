"""Comma, semicolon, tab or pipe between fields; quotes or none; a header or none."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from luthier.core.errors import DataError
from luthier.data.formats.base import Row, problem, to_error
from luthier.data.formats.lines import LINE_CAP, head, head_lines, read_lines
from luthier.data.samples import Finding
from luthier.data.sources import plain_name

DELIMITERS = (",", ";", "\t", "|")
NO_DELIMITER = "\x1f"
"""ASCII's unit separator stands in where each line is one field."""
NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe", NO_DELIMITER: "none (one column)"}
_NUMBER = re.compile(r"\s*[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?\s*")
_NAME = re.compile(r"[\w .:/()#%+-]{0,64}")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one file separates its fields."""

    delimiter: str
    quoting: bool
    """Whether ``"`` at the start of a field quotes it; in some files it is part of the text."""

    def reader(self, lines: Iterator[str]) -> Iterator[list[str]]:
        """csv's reader of this dialect."""
        csv.field_size_limit(LINE_CAP)
        if self.quoting:
            return csv.reader(lines, delimiter=self.delimiter)
        return csv.reader(lines, delimiter=self.delimiter, quoting=csv.QUOTE_NONE)


def _quotes_are_text(lines: list[str], delimiter: str) -> bool:
    """Whether reading ``"`` as quotes would swallow field or line ends that are real ones."""
    fields = [line.split(delimiter) for line in lines]
    begin = [field for row in fields for field in row if field.startswith('"')]
    if not begin:
        return delimiter == "\t"  # tab files seldom quote; a stray quote further down must not swallow rows
    if any(len(row) != len(fields[0]) for row in fields):
        return False
    if delimiter != "\t":
        quoted = Dialect(delimiter, True).reader(iter([f"{line}\n" for line in lines]))
        return any(len(row) != len(fields[0]) for row in quoted)
    inner = (field[1:-1] if len(field) > 1 and field.endswith('"') else None for field in begin)
    return any(text is None or '"' in text.replace('""', "") for text in inner)


def find_dialect(lines: list[str], name: str = "") -> Dialect:
    """The dialect under which the sampled `lines` have the most regular number of fields.

    The first line decides which delimiters come into question: a header never hides its own.
    """
    best, best_rank = Dialect(NO_DELIMITER, True), (0.0, 0, 0)
    for order, delimiter in enumerate(DELIMITERS):
        if delimiter not in lines[0]:
            continue
        dialect = Dialect(delimiter, not _quotes_are_text(lines, delimiter))
        try:
            counts = Counter(len(row) for row in dialect.reader(iter([f"{line}\n" for line in lines])) if row)
        except csv.Error:
            continue
        width, rows = counts.most_common(1)[0]
        if width < 2:
            continue
        favoured = delimiter == "\t" and name.endswith((".tsv", ".tab"))
        share = rows / counts.total() + (1.0 if favoured else 0.0)
        rank = (round(share, 2), width, -order)
        if share >= 0.5 and rank > best_rank:
            best, best_rank = dialect, rank
    return best


def has_header(first: list[str], second: list[str] | None, known: set[str], positions: bool) -> bool:
    """Whether the first row names columns.

    `known` are names that would be recognised, in lower case; `positions` says that the user maps
    columns by number, as one does where there are no names.
    """
    cells = [cell.strip() for cell in first]
    if any(cell.lower() in known for cell in cells):
        return True
    if len(set(cells)) != len(cells) or not all(_NAME.fullmatch(cell) for cell in cells):
        return False
    if any(_NUMBER.fullmatch(cell) for cell in cells):
        return False
    if second and any(_NUMBER.fullmatch(cell) for cell in second):
        return True  # words above numbers
    return not positions and all(len(cell.split()) <= 3 for cell in cells)


class _Feed:
    """Lines for csv's reader, remembering where the present record began."""

    def __init__(self, path: str) -> None:
        self._lines = read_lines(path)
        self.first = 0
        self.last = 0
        self.findings: list[Finding] = []

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        for number, text in self._lines:
            if isinstance(text, Finding):
                self.findings.append(text)
                continue
            self.first = self.first or number
            self.last = number
            return f"{text}\n"
        raise StopIteration


class Delimited:
    """CSV and its relatives. Without a header the columns are called "0", "1", ..."""

    def __init__(self, path: str, columns: Mapping[str, Any], known: set[str]) -> None:
        self.path = path
        lines = [line for line in head_lines(head(path)) if line.strip()]
        if not lines:
            raise DataError(
                "this file holds nothing but blank lines.",
                where=path,
                remedy="Give a file with rows in it.",
                code="empty_file",
            )
        if len(lines) == 1 and "\r" in lines[0]:
            raise DataError(
                "the lines of this file end in carriage returns only, as on very old Macs.",
                where=path,
                remedy="Convert it: tr '\\r' '\\n' < FILE > NEW.",
                code="line_ends",
            )
        self.dialect = find_dialect(lines, plain_name(path))
        self.name = "tsv" if self.dialect.delimiter == "\t" else "csv"
        rows = [row for row in self.dialect.reader(iter([f"{line}\n" for line in lines[:200]])) if any(row)]
        mapped = [item for value in columns.values() for item in (value if isinstance(value, list) else [value])]
        positions = any(isinstance(item, int) or str(item).strip().isdigit() for item in mapped)
        known = known | {str(item).strip().lower() for item in mapped if not str(item).strip().isdigit()}
        self._has_header = has_header(rows[0], rows[1] if len(rows) > 1 else None, known, positions)
        self._columns = self._names(rows[0])

    def _names(self, first: list[str]) -> list[str]:
        if not self._has_header:
            return [str(position) for position in range(len(first))]
        names = [cell.strip() for cell in first]
        twice = [name for name, count in Counter(names).items() if count > 1 and name]
        if twice:
            raise DataError(
                f"the header names the column {twice[0]!r} twice.",
                where=f"{self.path}:1",
                remedy="Rename one of them.",
                code="duplicate_column",
                param=twice[0],
            )
        return names

    @property
    def headerless(self) -> bool:
        """Whether columns are known by position only."""
        return not self._has_header

    def header(self) -> list[str]:
        return list(self._columns)

    def rows(self) -> Iterator[Row | Finding]:
        feed = _Feed(self.path)
        reader = self.dialect.reader(feed)
        expect_header = self._has_header
        while True:
            feed.first = 0
            try:
                cells = next(reader, None)
            except csv.Error as error:
                yield from self._drain(feed)
                yield self._broken(feed.first, feed.last, error)
                reader = self.dialect.reader(feed)
                continue
            findings = list(self._drain(feed))
            if expect_header and findings:
                raise to_error(findings[0])  # without its header the file means nothing
            yield from findings
            if cells is None:
                return
            if not any(cells):
                continue
            if expect_header:
                expect_header = False
                continue
            yield self._row(cells, feed.first, feed.last)

    @staticmethod
    def _drain(feed: _Feed) -> Iterator[Finding]:
        while feed.findings:
            yield feed.findings.pop(0)

    def _broken(self, first: int, last: int, error: csv.Error) -> Finding:
        if last > first:
            return problem(
                "unclosed_quote",
                f"the quote that opens here is not closed before line {last}.",
                'Close it, or double it ("") where it is part of the text.',
                first,
                self.path,
            )
        return problem(
            "not_parseable",
            f"this line cannot be read as {self.name.upper()}: {error}.",
            "Put the field in double quotes, or split the line.",
            first,
            self.path,
        )

    def _row(self, cells: list[str], first: int, last: int) -> Row | Finding:
        width = len(self._columns)
        if len(cells) != width:
            if len(cells) > width and not any(cells[width:]):
                cells = cells[:width]
            else:
                kind = NAMES[self.dialect.delimiter]
                spread = f" (lines {first} to {last})" if last > first else ""
                names = ", ".join(self._columns)[:200]
                return problem(
                    "column_count",
                    f"this row{spread} has {len(cells)} fields, not {width} ({names}).",
                    f"Put texts that hold a delimiter ({kind}) or a line end in double quotes.",
                    first,
                    self.path,
                )
        return Row(dict(zip(self._columns, cells, strict=True)), first, self.path)
