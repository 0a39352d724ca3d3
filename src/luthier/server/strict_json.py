"""JSON of a request's body, without what Python's parser lets through.

Refused: other encodings than UTF-8, NaN and infinity (1e400 too), keys that come twice, integers of more than 64
bits, half a surrogate pair, U+0000 (which PostgreSQL cannot hold) and nesting deeper than `DEEPEST`.
"""

from __future__ import annotations

import json
import math
import re
from itertools import accumulate
from typing import Any

from luthier.server.errors import ApiError

DEEPEST = 64
_LONGEST_NUMBER = 100
"""Characters of a number; turning a longer one into an int takes time that grows with its square."""
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_DELTA = {byte: 1 if byte in b"[{" else -1 for byte in b"[]{}"}


def check(body: bytes) -> None:
    """Raise a 400 for a body that is no sound JSON."""
    _check_depth(body)
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_finite,
        )
    except UnicodeDecodeError as error:
        raise _invalid(f"byte {error.start} is no valid UTF-8", "invalid_utf8") from None
    except json.JSONDecodeError as error:
        raise _invalid(f"{error.msg} (line {error.lineno}, column {error.colno})", "invalid_json") from None
    except RecursionError:
        raise _too_deep() from None
    if b"\\u" in body or b"\0" in body:
        _check_texts(value)


def _check_depth(body: bytes) -> None:
    if body.count(b"[") + body.count(b"{") <= DEEPEST:
        return
    brackets = _STRING.sub(b"", body).translate(None, _NOT_BRACKETS)
    if max(accumulate(map(_DELTA.__getitem__, brackets)), default=0) > DEEPEST:
        raise _too_deep()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _invalid(f"the key {twice[:100]!r} comes twice in one object", "duplicate_key")
    return found


def _constant(name: str) -> Any:
    raise _invalid(f"{name} is no JSON", "invalid_number")


def _integer(text: str) -> int:
    if len(text) <= _LONGEST_NUMBER and -(2**63) <= (value := int(text)) < 2**63:
        return value
    raise _invalid("an integer has more than 64 bits", "invalid_number")


def _finite(text: str) -> float:
    if len(text) <= _LONGEST_NUMBER and math.isfinite(value := float(text)):
        return value
    raise _invalid("a number is too large or too long", "invalid_number")


def _check_texts(value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _check_texts(key)
            _check_texts(item)
    elif isinstance(value, list):
        for item in value:
            _check_texts(item)
    elif isinstance(value, str):
        if "\0" in value:
            raise _invalid("a text holds the character U+0000", "invalid_text")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _invalid("a text holds half of a surrogate pair", "invalid_text") from None


def _too_deep() -> ApiError:
    return _invalid(f"it is nested deeper than {DEEPEST} levels", "too_deep")


def _invalid(reason: str, code: str) -> ApiError:
    return ApiError(400, f"The body of the request cannot be read as JSON: {reason}.", code=code)
