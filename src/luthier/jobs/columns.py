"""Columns as the tables of the store spell them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sql
from sqlalchemy import Column

from luthier.jobs.column_types import Integer, Json, Text


def number() -> Column[Any]:
    """The order of creation: a primary key that the database counts."""
    # Only a column called INTEGER counts by itself in SQLite.
    return Column("number", sql.BigInteger().with_variant(sql.Integer, "sqlite"), primary_key=True, autoincrement=True)


def text(name: str, *, optional: bool = False, unique: bool = False) -> Column[Any]:
    """A column of text."""
    return Column(name, Text, nullable=optional, unique=unique)


def integer(name: str, *, optional: bool = False) -> Column[Any]:
    """A column of integers of 64 bits."""
    return Column(name, Integer, nullable=optional)


def json(name: str, *, optional: bool = False) -> Column[Any]:
    """A column of JSON."""
    return Column(name, Json, nullable=optional)


def reference(name: str, target: str) -> Column[Any]:
    """A column that names a row of another table."""
    return Column(name, Text, sql.ForeignKey(target), nullable=False)
