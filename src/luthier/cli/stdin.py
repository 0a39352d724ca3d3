"""What is piped into a command."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from luthier.core.errors import DataError


def stdin_lines() -> Iterator[tuple[int, str]]:
    """(number from 1, text) of the lines of stdin that are not empty; `DataError` for one that is not UTF-8."""
    for number, raw in enumerate(sys.stdin.buffer, start=1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise DataError(
                "this line is not UTF-8.",
                where=f"stdin:{number}",
                remedy="Convert it with iconv.",
                code="wrong_encoding",
            ) from None
        if line.strip():
            yield number, line


def json_object(line: str) -> dict[str, Any] | None:
    """The JSON object in a line, None when it is something else."""
    try:
        value = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
