"""OpenAI's placeholders in graders: ``{{ item.reference_answer }}``, ``{{ sample.output_text }}``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_PLACE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_PATH = re.compile(r"(item|sample)((?:\.\w+|\[\d+\]|\['[^']*'\]|\[\"[^\"]*\"\])*)")
_PART = re.compile(r"\.(\w+)|\[(\d+)\]|\['([^']*)'\]|\[\"([^\"]*)\"\]")


class Missing(LookupError):
    """The placeholder's value is not there; `root` is item (the row) or sample (the answer)."""

    def __init__(self, path: str, root: str, known: str) -> None:
        super().__init__(f"there is no {path!r}" + (f" (there are {known})" if known else ""))
        self.root = root


def check_placeholders(text: str) -> None:
    """Raise `ValueError` at a placeholder that is neither an item's nor a sample's."""
    for match in _PLACE.finditer(text):
        if not _PATH.fullmatch(match.group(1).strip()):
            known = "{{ item.COLUMN }} or {{ sample.output_text }}"
            raise ValueError(f"{match.group(0)!r} is unknown: write {known}")


def fill(text: str, sample: Mapping[str, Any], item: Mapping[str, Any]) -> str:
    """`text` with every placeholder's value; texts as they are, anything else as JSON. Raises `Missing`."""

    def value(match: re.Match[str]) -> str:
        path = match.group(1).strip()
        found = _look_up(path, {"sample": sample, "item": item})
        return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, default=str)

    return _PLACE.sub(value, text)


def _look_up(path: str, roots: Mapping[str, Any]) -> Any:
    match = _PATH.fullmatch(path)
    if match is None:
        raise Missing(path, "item", "item and sample")
    value: Any = roots[match.group(1)]
    for word, number, *quoted in _PART.findall(match.group(2)):
        key = word or next(filter(None, quoted), "")
        if number and isinstance(value, list | tuple) and int(number) < len(value):
            value = value[int(number)]
        elif key and isinstance(value, Mapping) and key in value:
            value = value[key]
        else:
            known = ", ".join(map(str, list(value)[:10])) if isinstance(value, Mapping) else ""
            raise Missing(path, match.group(1), known)
    return value
