"""What every part of the store does: rows as records, one page of a list, one row or `NotFound`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any, Literal, TypeVar

import sqlalchemy as sql
from sqlalchemy import Column, ColumnElement, Connection, Row, Select, Table

from luthier.jobs.errors import NotFound
from luthier.jobs.records import Page

Record = TypeVar("Record")
Order = Literal["asc", "desc"]


def reader(table: Table, record: type[Record]) -> tuple[list[Column[Any]], Callable[[Row[Any]], Record]]:
    """The columns of `table` that `record` has fields for, and what makes a record of such a row."""
    columns = [table.c[field.name] for field in fields(record)]  # type: ignore[arg-type]
    return columns, lambda row: record(*row)


def values_of(record: Any, **changes: Any) -> dict[str, Any]:
    """The fields of `record` as the values of a row."""
    return {field.name: getattr(record, field.name) for field in fields(record)} | changes


def one(connection: Connection, statement: Select[Any], what: str, name: str, *, param: str | None = None) -> Row[Any]:
    """The only row of `statement`; NotFound without one."""
    row = connection.execute(statement).first()
    if row is None:
        raise missing(what, name, param=param)
    return row


def missing(what: str, name: str, *, param: str | None = None) -> NotFound:
    """The error for a thing that is not there; `name` is what the caller said."""
    return NotFound(f"there is no {what} {name[:200]!r}.", param=param)


def page(
    connection: Connection,
    statement: Select[Any],
    make: Callable[[Row[Any]], Record],
    *,
    number: ColumnElement[Any],
    start: int | None,
    limit: int,
    order: Order,
) -> Page[Record]:
    """`limit` rows of `statement` after the row with the number `start`, in the order of `number`."""
    if start is not None:
        statement = statement.where(number > start if order == "asc" else number < start)
    ordered = statement.order_by(number if order == "asc" else number.desc()).limit(limit + 1)
    rows = connection.execute(ordered).all()
    return Page([make(row) for row in rows[:limit]], len(rows) > limit)


def start_of(
    connection: Connection, number: Column[Any], conditions: Iterable[ColumnElement[bool]], after: str | None, what: str
) -> int | None:
    """The number of the row that `after` names; NotFound when there is none."""
    if after is None:
        return None
    row = one(connection, sql.select(number).where(*conditions), what, after, param="after")
    return int(row[0])
