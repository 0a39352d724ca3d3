"""Column types that accept the same values on SQLite and PostgreSQL, and refuse the rest with the same error."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import BigInteger as SqlInteger
from sqlalchemy import Dialect, TypeDecorator
from sqlalchemy import Text as SqlText

from luthier.jobs.errors import InvalidValue

_LARGEST = 2**63 - 1


class Text(TypeDecorator[str]):
    """Text without U+0000, which PostgreSQL cannot hold, and without lone surrogates, which are no UTF-8."""

    impl = SqlText
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Refuse what one of the databases would refuse."""
        return value if value is None else checked_text(value)


class Integer(TypeDecorator[int]):
    """A whole number of 64 bits."""

    impl = SqlInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        """Refuse what does not fit."""
        if value is not None and not -_LARGEST <= value <= _LARGEST:
            raise InvalidValue("a number does not fit into 64 bits.", code="invalid_number")
        return value


class Json(TypeDecorator[Any]):
    """A JSON value, kept as text: the same bytes on both databases, and no operator of either is needed."""

    impl = SqlText
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Write the value as JSON."""
        if value is None:
            return None
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        except (ValueError, RecursionError) as error:  # NaN, infinity, a circle, too deep
            raise InvalidValue("a value cannot be written as JSON.", code="invalid_json") from error
        if "\\u0000" in text:
            _refuse_zero(value)
        return checked_text(text)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Read the JSON back."""
        return None if value is None else json.loads(value)


def checked_text(value: str) -> str:
    """`value`; InvalidValue where a database cannot hold it."""
    if "\x00" in value:
        raise InvalidValue("the text contains the character U+0000.", remedy="Remove it and try again.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidValue(
            "the text contains half of a surrogate pair, which is no character.", remedy="Remove it and try again."
        ) from error
    return value


def _refuse_zero(value: Any) -> None:
    """Look for U+0000 itself: the six characters of its escape may also be meant."""
    if isinstance(value, str):
        checked_text(value)
    elif isinstance(value, dict):
        for name, inner in value.items():
            _refuse_zero(name)
            _refuse_zero(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _refuse_zero(inner)
