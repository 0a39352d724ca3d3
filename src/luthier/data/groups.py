"""Which group each row belongs to, by columns that are neither text nor answer: region, product, age band."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from luthier.core.errors import DataError, nearest
from luthier.data.dataset import PEEK, Dataset
from luthier.data.formats.base import Row
from luthier.data.samples import Finding, Sample

NO_GROUP = "(none)"
"""The group of the rows whose cell is empty or missing."""
_LONGEST = 120


def group_name(value: Any) -> str:
    """A cell as the name of a group: numbers and truth values as text, an empty cell as `NO_GROUP`."""
    if value is None or value != value:  # NaN is how Parquet and pandas write an empty cell
        return NO_GROUP
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    name = " ".join(str(value).split())
    return (name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…") or NO_GROUP


def columns_there(rows: Iterable[Row | Finding]) -> list[str]:
    """The columns that `rows` have, in the order in which they occur."""
    return list(dict.fromkeys(name for row in rows if isinstance(row, Row) for name in row.values))


def check_group_columns(dataset: Dataset, columns: Sequence[str], *, param: str = "evaluate.fairness.group") -> None:
    """Raises `DataError` for a column that no row of `dataset` has, with the name of the nearest one."""
    known = set(columns_there(islice(dataset.rows(), PEEK)))
    if not known.issuperset(columns):
        known |= set(columns_there(dataset.rows()))  # a column of JSON Lines may come late
    for column in columns:
        if column not in known:
            raise DataError(
                f"there is no column {column!r} to group by.",
                where=dataset.sources[0],
                remedy=nearest(column, known) or "These rows have no columns.",
                code="missing_column",
                param=param,
            )


def known_columns(dataset: Dataset, columns: Sequence[str]) -> list[str]:
    """Those of `columns` that a row of `dataset` has."""
    found = []
    for column in columns:
        try:
            check_group_columns(dataset, [column])
        except DataError:
            continue
        found.append(column)
    return found


class GroupReader:
    """Called with samples in the order of their rows, it gives each one's groups, one per column; held is one row.

    A sample that does not come from `dataset`, or was passed already, is of `NO_GROUP` throughout.
    """

    def __init__(self, dataset: Dataset, columns: Sequence[str]) -> None:
        self._rows: Iterator[Row | Finding] = dataset.rows()
        self._columns = tuple(columns)

    def __call__(self, sample: Sample) -> tuple[str, ...]:
        for row in self._rows:
            if isinstance(row, Row) and (row.line, row.source) == (sample.line, sample.source):
                return tuple(group_name(row.values.get(column)) for column in self._columns)
        return (NO_GROUP,) * len(self._columns)
