"""A file of rows again, with rows dropped, corrected and added, and columns renamed.

JSON lines stay JSON lines, and a row that is not touched stays byte for byte; CSV stays CSV; every other format becomes
JSON lines.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.core.durable_files import FileWriter
from luthier.core.errors import DataError
from luthier.data.formats import Format
from luthier.data.formats.delimited import NO_DELIMITER, Delimited
from luthier.data.row_view import RowView

_FLUSH = 1 << 18


@dataclass(frozen=True)
class Fixes:
    """What to change. Rows are numbered as in the file that is mended, whatever else changes.

    Attributes:
        drop: numbers of rows; `drop_lines`: the lines where rows begin.
        rename: new name to present name of a column. What has a new name already is called ``<name>_before``.
        correct: values that replace those of a row, by its number and column (the new names).
        add: rows for the end.
    """

    drop: Collection[int] = ()
    drop_lines: Collection[int] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    correct: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    add: Sequence[Mapping[str, Any]] = ()


@dataclass
class Fixed:
    """What was changed: counts of rows."""

    dropped: int = 0
    corrected: int = 0
    added: int = 0
    rows: int = 0


def ending_of(item: Format) -> str:
    """The ending of the new file's name."""
    return ".csv" if _as_csv(item) else ".jsonl"


def write_fixed(item: Format, view: RowView, fixes: Fixes, out: Path) -> Fixed:
    """Write the mended file.

    Args:
        item: the file; `view`: its rows.

    Raises:
        DataError: a row or column that is named is not there (``row_not_found``, ``missing_column``), a broken row is
            corrected without all of its values, or nothing is left (``empty_file``).
    """
    told = Fixed()
    _check_numbers(fixes, view)
    plain = _csv_lines if _as_csv(item) else _json_lines
    pending = bytearray()
    with FileWriter(out) as writer:
        for data in plain(item, view, fixes, told):
            pending += data
            if len(pending) >= _FLUSH:
                writer.write(bytes(pending))
                pending.clear()
        writer.write(bytes(pending))
        if not told.rows:
            raise DataError("no row would be left.", remedy="Drop fewer.", code="empty_file")
        writer.commit()
    return told


def _as_csv(item: Format) -> bool:
    return isinstance(item, Delimited) and item.dialect.delimiter != NO_DELIMITER


def _check_numbers(fixes: Fixes, view: RowView) -> None:
    for number in (*fixes.drop, *fixes.correct):
        if number > view.count:
            raise DataError(f"there is no row {number}; there are {view.count}.", code="row_not_found")


def _kept(view: RowView, fixes: Fixes, told: Fixed) -> Iterator[tuple[bytes, dict[str, Any] | None, bool]]:
    """(bytes, values, whether they were changed) of each row that stays; then the added ones, without bytes."""
    drop, lines = frozenset(fixes.drop), frozenset(fixes.drop_lines)
    # Of JSON lines that stay as they are nobody needs to know what they say.
    needs = fixes.correct.__contains__ if view.own and not fixes.rename else _always
    for number, line, data, values in view.each(needs):
        if number in drop or line in lines:
            told.dropped += 1
            continue
        told.rows += 1
        new = fixes.correct.get(number)
        changed = bool(values is not None and fixes.rename)
        if changed and values is not None:
            values = _renamed(values, fixes.rename)
        if new is not None:
            told.corrected += 1
            values, changed = {**(values or {}), **new}, True
        yield data, values, changed
    for row in fixes.add:
        told.added += 1
        told.rows += 1
        yield b"", dict(row), True


def _always(number: int) -> bool:
    return True


def _renamed(values: Mapping[str, Any], rename: Mapping[str, str]) -> dict[str, Any]:
    """The row with its columns renamed, in the order that they had."""
    old = {present: new for new, present in rename.items()}
    moved = {name: f"{name}_before" for name in rename if name not in old}
    return {old.get(name) or moved.get(name) or name: value for name, value in values.items()}


def _json_lines(item: Format, view: RowView, fixes: Fixes, told: Fixed) -> Iterator[bytes]:
    for data, values, changed in _kept(view, fixes, told):
        if changed or (values is not None and not view.own):
            yield json.dumps(values, ensure_ascii=False, default=str).encode("utf-8") + b"\n"
        elif view.own:
            yield data if data.endswith(b"\n") else data + b"\n"
        else:  # a broken row of another format has no text of its own
            told.rows -= 1
            told.dropped += 1


def _csv_lines(item: Format, view: RowView, fixes: Fixes, told: Fixed) -> Iterator[bytes]:
    assert isinstance(item, Delimited)
    names = list(_renamed(dict.fromkeys(item.header()), fixes.rename))
    wanted = dict.fromkeys(name for row in (*fixes.add, *fixes.correct.values()) for name in row)
    names += [name for name in wanted if name not in names]
    stream = io.StringIO()
    delimiter = item.dialect.delimiter if item.dialect.quoting else ","
    writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
    if not item.headerless or names != item.header():
        writer.writerow(names)
    for _, values, _ in _kept(view, fixes, told):
        if values is None:  # its cells do not fit the columns, so they cannot be written again
            told.rows -= 1
            told.dropped += 1
            continue
        writer.writerow([_cell(values.get(name)) for name in names])
        yield stream.getvalue().encode("utf-8")
        stream.seek(0)
        stream.truncate()


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)
