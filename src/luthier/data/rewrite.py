"""A data file again, with some rows dropped or answered otherwise: in its own format, columns and line ends.

Rows that are not decided on stay byte for byte (in JSON arrays and Parquet: value for value).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.core.errors import DataError, UsageError
from luthier.data.columns import Columns
from luthier.data.formats import Format, Row
from luthier.data.formats.delimited import NO_DELIMITER, Delimited
from luthier.data.formats.jsonl import JsonArray, JsonLines
from luthier.data.formats.parquet import Parquet
from luthier.data.review import Decision
from luthier.data.samples import Target
from luthier.data.sources import open_bytes, open_stored

_GZIP = b"\x1f\x8b"


def rewritten(item: Format, columns: Columns, decisions: Mapping[int, Decision]) -> bytes:
    """The file's new bytes, compressed where it was.

    Args:
        item: the file. columns: where its answers stand. decisions: by row of this file, from 1.

    Raises:
        UsageError: `not_rewritable`, where an answer is no cell (a folder's name).
    """
    names = columns.score or ((columns.label,) if columns.label else ())
    if isinstance(item, JsonLines):
        found = _lines(item, decisions, lambda row, raw, target: _json_line(row, names, target))
    elif isinstance(item, Delimited):
        dialect = item
        found = _lines(item, decisions, lambda row, raw, target: _cells(dialect, row, raw, names, target))
    elif isinstance(item, JsonArray):
        found = _array(item, decisions, names)
    elif isinstance(item, Parquet):
        found = _parquet(item, decisions, names)
    else:
        raise UsageError(
            f"a file of the format {item.name} cannot be written with other labels.", where=item.path,
            remedy="Move or delete the files by hand, as the review says.", code="not_rewritable",
        )  # fmt: skip
    with open_stored(item.path) as stream:
        packed = stream.read(2) == _GZIP
    return gzip.compress(found, mtime=0) if packed else found


def _lines(item: Format, decisions: Mapping[int, Decision], change: Any) -> bytes:
    """Replace the lines of rows; `change(row, raw bytes, target)` gives a row's new text without line end."""
    with open_bytes(item.path) as stream:
        lines = stream.readlines()
    rows = [row for row in item.rows() if isinstance(row, Row)]
    kept: list[bytes] = lines[: rows[0].line - 1] if rows else lines
    for number, row in enumerate(rows, start=1):
        end = rows[number].line - 1 if number < len(rows) else len(lines)
        own = lines[row.line - 1 : end]
        decision = decisions.get(number)
        if decision is None:
            kept += own
        elif decision.action == "label":
            raw = b"".join(own)
            stripped = raw.rstrip(b"\r\n")
            kept.append(change(row, stripped, decision.target).encode("utf-8") + raw[len(stripped) :])
    return b"".join(kept)


def _json_line(row: Row, names: Sequence[str], target: Target) -> str:
    values = dict(row.values)
    values.update(_values(values, names, target))
    return json.dumps(values, ensure_ascii=False)


def _cells(item: Delimited, row: Row, raw: bytes, names: Sequence[str], target: Target) -> str:
    values = {**row.values, **{name: _text(value) for name, value in _values(row.values, names, target).items()}}
    cells = [str(values[name]) for name in item.header()]
    delimiter = item.dialect.delimiter
    if not item.dialect.quoting or delimiter == NO_DELIMITER:
        if any(delimiter in cell or "\n" in cell for cell in cells):
            raise DataError(
                "the new label holds the character that separates the columns, and this file has no quotes.",
                where=f"{item.path}:{row.line}", remedy="Choose another name for it.", code="bad_decision",
            )  # fmt: skip
        return delimiter.join(cells)
    stream = io.StringIO()
    quoted = raw.startswith(b'"') and raw.endswith(b'"')
    writer = csv.writer(
        stream, delimiter=delimiter, lineterminator="", quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    )
    writer.writerow(cells)
    return stream.getvalue()


def _values(old: Mapping[str, Any], names: Sequence[str], target: Target) -> dict[str, Any]:
    """The answer's cells, of the type that they had."""
    if isinstance(target, str):
        return {names[0]: _like(old.get(names[0]), target)}
    parts: list[Any] = list(target or ())  # type: ignore[arg-type]
    if parts and isinstance(parts[0], float):
        return {name: int(part) if part == int(part) else part for name, part in zip(names, parts, strict=True)}
    before = old.get(names[0])
    first = before[0] if isinstance(before, list) and before else ""
    return {names[0]: [_like(first, str(part)) for part in parts]}


def _like(old: Any, label: str) -> Any:
    if isinstance(old, bool) and label in ("true", "false"):
        return label == "true"
    if isinstance(old, int | float) and not isinstance(old, bool):
        try:
            return int(label) if label.lstrip("-").isdecimal() else float(label)
        except ValueError:
            return label
    return label


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)


def _array(item: JsonArray, decisions: Mapping[int, Decision], names: Sequence[str]) -> bytes:
    with open_bytes(item.path) as stream:
        text = stream.read().decode("utf-8-sig")
    kept = []
    for number, values in enumerate(json.loads(text), start=1):
        decision = decisions.get(number)
        if decision is None:
            kept.append(values)
        elif decision.action == "label":
            kept.append({**values, **_values(values, names, decision.target)})
    pretty = 2 if "\n" in text.strip() else None
    return (json.dumps(kept, ensure_ascii=False, indent=pretty) + "\n").encode("utf-8")


def _parquet(item: Parquet, decisions: Mapping[int, Decision], names: Sequence[str]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_stored(item.path) as stream:
        table = pq.read_table(stream)
    for name in names:
        place = table.schema.get_field_index(name)
        column = table.column(name).to_pylist()
        for number, decision in decisions.items():
            if decision.action == "label":
                column[number - 1] = _values({name: column[number - 1]}, names, decision.target)[name]
        table = table.set_column(place, table.schema.field(name), pa.array(column, type=table.schema.field(name).type))
    dropped = {number - 1 for number, decision in decisions.items() if decision.action == "drop"}
    table = table.filter(pa.array([i not in dropped for i in range(table.num_rows)]))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()
