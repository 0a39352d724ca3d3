"""The columns of a row beside its question and answer: graders and code tests ask for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from luthier.data.formats.base import Row
from luthier.data.samples import Finding, Sample


class RowColumns:
    """Called with samples in the order of their rows, it gives each one's columns; held is one row.

    `rows` are those of the samples' data set (`Dataset.rows`), read afresh. A sample whose row is not found, or
    was passed already, has no columns.
    """

    def __init__(self, rows: Iterable[Row | Finding]) -> None:
        self._rows = iter(rows)

    def __call__(self, sample: Sample) -> Mapping[str, Any]:
        for row in self._rows:
            if isinstance(row, Row) and (row.line, row.source) == (sample.line, sample.source):
                return row.values
        return {}
