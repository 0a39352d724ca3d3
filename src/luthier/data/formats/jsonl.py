"""JSON lines, and a JSON array of objects: the same rows."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from luthier.data.formats.base import Row, problem
from luthier.data.formats.lines import LINE_CAP, read_lines
from luthier.data.samples import Finding

_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_PLAIN = "Write one JSON object per line, with double quotes around names and texts."


class _Refused(Exception):
    """What Python's json accepts and JSON (RFC 8259) or other readers do not."""

    def __init__(self, code: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.code, self.message, self.remedy = code, message, remedy


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise _Refused("duplicate_key", f"the key {twice!r} stands twice in one object.", "Keep one of them.")
    return values


def _constant(word: str) -> Any:
    raise _Refused("bad_number", f"{word} is not a JSON number.", "Write a finite number, or leave the row out.")


def _float(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise _Refused("bad_number", f"the number {digits[:40]} is too large.", "Write a finite number.")
    return value


def _int(digits: str) -> int:
    if len(digits) > 400:  # more than any double holds, and Python stops reading at 4,300 digits
        raise _Refused("bad_number", f"this number has {len(digits):,} digits.", "Write it as a text if it is a name.")
    return int(digits)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_int, strict=True
)


def _has_surrogate(value: Any) -> bool:
    if isinstance(value, str):
        return _SURROGATE.search(value) is not None
    if isinstance(value, dict):
        return any(_has_surrogate(item) for pair in value.items() for item in pair)
    return isinstance(value, list) and any(_has_surrogate(item) for item in value)


def parse(text: str, line: int, source: str) -> Row | Finding:
    """One JSON object as a row, or what is wrong with it."""
    found = functools.partial(problem, line=line, source=source)
    try:
        value = _DECODER.decode(text)
        if _ESCAPED_SURROGATE.search(text) and _has_surrogate(value):
            return found(
                "bad_unicode",
                "this text holds half of a surrogate pair, which is no character.",
                "Remove the \\ud8xx ... \\udfxx escape or write the character itself.",
            )
    except _Refused as error:
        return found(error.code, error.message, error.remedy)
    except RecursionError:
        return found("too_deep", "the objects or lists are nested too deeply.", "Flatten the row.")
    except json.JSONDecodeError as error:
        return found("not_json", f"this is not JSON: {error.msg} at column {error.colno}.", _PLAIN)
    if not isinstance(value, dict):
        return found(
            "not_object",
            f"this is a JSON {_kind(value)}, not an object.",
            'Write {"text": ..., "label": ...}.',
        )
    return Row(value, line, source)


def _kind(value: Any) -> str:
    kinds = {str: "text", list: "list", bool: "true or false", int: "number", float: "number"}
    return kinds.get(type(value), "null")


class JsonLines:
    """One object per line; blank lines are passed over."""

    name = "jsonl"

    def __init__(self, path: str) -> None:
        self.path = path

    def header(self) -> list[str]:
        return []

    def rows(self) -> Iterator[Row | Finding]:
        for number, text in read_lines(self.path):
            if isinstance(text, Finding):
                yield text
            elif text and not text.isspace():
                yield parse(text, number, self.path)


class JsonArray:
    """A list of objects, compact or printed over many lines; one object in memory at a time."""

    name = "json"

    def __init__(self, path: str) -> None:
        self.path = path

    def header(self) -> list[str]:
        return []

    def rows(self) -> Iterator[Row | Finding]:
        item: list[str] = []  # the pieces, line by line, of the object that is open
        size, begun, depth = 0, 1, 0
        for number, text in read_lines(self.path):
            if isinstance(text, Finding):
                yield text
                return  # where the next object begins is no longer known
            start = 0
            for match in _MARKS.finditer(text):
                mark, at = match.group(), match.start()
                if mark in ("[", "{"):
                    if depth < 2:
                        yield from self._between(text[start:at], number)
                        start = at if depth else at + 1
                        begun = number
                    depth += 1
                elif mark in ("]", "}"):
                    depth -= 1
                    if depth == 1:
                        yield parse("".join([*item, text[start : at + 1]]), begun, self.path)
                        item, size = [], 0
                    elif depth <= 0:
                        yield from self._between(text[start:at], number)
                    if depth <= 1:
                        start = at + 1
            if depth > 1:
                item.append(text[start:] + "\n")
                size += len(text) - start
                if size > LINE_CAP:
                    yield problem(
                        "line_too_long",
                        f"one object is longer than {LINE_CAP:,} characters.",
                        "Split it into several rows.",
                        begun,
                        self.path,
                    )
                    return
            else:
                yield from self._between(text[start:], number)
        if depth > 0:
            yield problem(
                "not_json",
                "the list that begins the file, or an object in it, has no end.",
                "Close it; the file may have been cut off.",
                begun,
                self.path,
            )

    def _between(self, text: str, line: int) -> Iterator[Finding]:
        """Between two objects only commas may stand."""
        if text.strip(" \t\r,"):
            yield problem(
                "not_object",
                f"here stands {text.strip()[:40]!r} where an object is expected.",
                'Write [{"text": ..., "label": ...}, ...].',
                line,
                self.path,
            )


_MARKS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]')
"""Brackets, and texts as a whole, so that brackets in them do not count."""
