"""What a row answers: labels, numbers and spans, each checked."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

from luthier.data.samples import Finding, Span

_LIST = 'Write a list as JSON: ["first", "second"].'
_SPAN = 'Write spans as [{"start": 0, "end": 4, "label": "NAME"}], in characters, the end not included.'


class Wrong(Exception):
    """A value that cannot be used; becomes a `Finding` with the row's place."""

    def __init__(self, code: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.code, self.message, self.remedy = code, message, remedy

    def finding(self, line: int, source: str) -> Finding:
        return Finding(self.code, "error", self.message, self.remedy, line, source)


def kind(value: Any) -> str:
    """A value's type in the words of the data, not of Python."""
    names = {
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
        type(None): "nothing",
        bytes: "bytes",
    }
    return names.get(type(value), f"a {type(value).__name__}")


def one_label(value: Any, column: str) -> str:
    """A class's name; 1, 1.0 and "1" are one class, as files of one data set differ in such."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        raise Wrong("empty_label", f"{column!r} is {value}.", "Give the row a label, or leave it out.")
    if isinstance(value, int | float):
        return str(int(value)) if value == int(value) else repr(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise Wrong("empty_label", f"{column!r} is empty.", "Give the row a label, or leave it out.")
    if not isinstance(value, str):
        raise Wrong("wrong_type", f"{column!r} is {kind(value)}, not a label.", "Write the class as a text.")
    return value.strip()


def parse_label(value: Any, column: str) -> str | tuple[str, ...]:
    """One class, or a tuple of classes where the cell is a list (or a JSON list as text)."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        text = value.strip()
        if text.startswith('["') or text == "[]":
            value = _json(text, column, _LIST)
        elif text.startswith("['") and text.endswith("']"):
            raise Wrong("wrong_type", f"{column!r} is a Python list written as text.", _LIST)
    if isinstance(value, list | tuple):
        return tuple(dict.fromkeys(one_label(item, column) for item in value))
    return one_label(value, column)


def _json(text: str, column: str, remedy: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Wrong("not_json", f"{column!r} begins like JSON but is not.", remedy) from None


def parse_score(value: Any, column: str) -> float:
    """A finite number."""
    if value is None or (isinstance(value, str) and not value.strip()):
        raise Wrong("bad_score", f"{column!r} is empty; a number is needed.", "Give a number or leave the row out.")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Wrong("bad_score", f"{column!r} is {kind(value)}, not a number.", "Write a plain number.")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        hint = "Write a point, not a comma: 3.5." if "," in str(value) else "Write a plain number."
        raise Wrong("bad_score", f"{column!r} is {str(value)[:40]!r}, not a number.", hint) from None
    if not math.isfinite(number):
        raise Wrong(
            "bad_score",
            f"{column!r} is {number}; only finite numbers can be learned.",
            "Give a finite number or leave the row out.",
        )
    return number


def parse_spans(value: Any, text: str, column: str) -> tuple[Span, ...]:
    """Spans in order of their start, within the text and apart from each other."""
    if isinstance(value, str):
        value = _json(value, column, _SPAN)
    if not isinstance(value, list):
        raise Wrong("bad_span", f"{column!r} is {kind(value)}, not a list of spans.", _SPAN)
    spans = sorted((_span(item, text) for item in value), key=lambda span: (span.start, span.end))
    for before, after in itertools.pairwise(spans):
        if after.start < before.end:
            raise Wrong(
                "overlapping_spans",
                f"the spans {_show(before, text)} and {_show(after, text)} overlap.",
                "Keep one of them; each character can have one label.",
            )
    return tuple(spans)


def _show(span: Span, text: str) -> str:
    return f"{text[span.start : span.end][:40]!r} ({span.start} to {span.end}, {span.label})"


def _span(item: Any, text: str) -> Span:
    if isinstance(item, list | tuple) and len(item) == 3:
        item = {"start": item[0], "end": item[1], "label": item[2]}
    if not isinstance(item, dict):
        raise Wrong("bad_span", f"a span is {kind(item)}, not an object.", _SPAN)
    missing = [name for name in ("start", "end", "label") if name not in item]
    if missing:
        raise Wrong("bad_span", f"a span lacks {' and '.join(map(repr, missing))}.", _SPAN)
    start, end, label = item["start"], item["end"], item["label"]
    if type(start) is not int or type(end) is not int:
        raise Wrong("bad_span", "a span's start and end must be whole numbers.", _SPAN)
    if not isinstance(label, str) or not label.strip():
        raise Wrong("bad_span", f"the span from {start} to {end} has no label.", _SPAN)
    if not 0 <= start < end:
        raise Wrong("bad_span", f"the span from {start} to {end} holds no character.", _SPAN)
    if end > len(text):
        raise Wrong(
            "bad_span",
            f"the span from {start} to {end} leaves the text, which has {len(text)} characters.",
            "Count characters, not bytes, in the text as it is in the file.",
        )
    quoted = item.get("text")
    if isinstance(quoted, str) and quoted != text[start:end]:
        raise Wrong(
            "bad_span",
            f"the span {start} to {end} is {text[start:end][:40]!r}, not {quoted[:40]!r}.",
            "Count characters, not bytes, in the text as it is in the file.",
        )
    return Span(start, end, label.strip())
