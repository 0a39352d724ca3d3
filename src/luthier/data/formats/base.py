"""What a format gives: rows, one after another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from luthier.core.errors import DataError
from luthier.data.samples import Finding


@dataclass(frozen=True, slots=True)
class Row:
    """One row as its file has it: values by column name.

    `line` counts from 1, where the row begins in its file (the row number in a Parquet file).
    `group` is what the row belongs to by where it lies, when no column says it.
    """

    values: dict[str, Any]
    line: int
    source: str
    group: str | None = None


class Format(Protocol):
    """One file in one format. `rows` starts afresh on each call and holds a bounded part of the file."""

    name: str
    path: str

    def header(self) -> list[str]:
        """The columns that the file itself declares; empty when only its rows tell."""
        ...

    def rows(self) -> Iterator[Row | Finding]:
        """The rows, and a `Finding` for each place that is not a row."""
        ...


def problem(code: str, message: str, remedy: str, line: int, source: str) -> Finding:
    """A finding of severity `error`."""
    return Finding(code, "error", message, remedy, line, source)


def to_error(finding: Finding) -> DataError:
    """The finding as the error that stops a run."""
    place = f"{finding.source}:{finding.line}" if finding.line else finding.source
    return DataError(finding.message, where=place, remedy=finding.remedy, code=finding.code)
