"""How right one answer is: the same text, the same words, the same JSON."""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Iterator
from typing import Any

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact_match(answer: str, reference: str) -> float:
    """1 where both texts are the same but for blanks around them."""
    return float(answer.strip() == reference.strip())


def token_f1(answer: str, reference: str) -> float:
    """SQuAD's F1 (Rajpurkar et al. 2016) of words in lower case, without punctuation and English articles."""
    ours, theirs = Counter(_words(answer)), Counter(_words(reference))
    if not ours or not theirs:
        return float(ours == theirs)
    return 2 * (ours & theirs).total() / (ours.total() + theirs.total())


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def parse_json(text: str) -> Any:
    """The value, or `ValueError`: strict JSON, so neither NaN nor text around it."""
    try:
        return json.loads(text.strip(), parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def json_reference(reference: str) -> Any:
    """The reference as JSON object or list; None where it is text (a number alone is text too)."""
    if reference.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return parse_json(reference)
    except ValueError:
        return None


def json_scores(answer: str, expected: Any) -> dict[str, float]:
    """json_valid (it parses), json_exact (every field as expected, order of keys aside), json_fields (F1 of
    fields, each a path with its value; lists count by position)."""
    try:
        found = parse_json(answer)
    except ValueError:
        return {"json_valid": 0.0, "json_exact": 0.0, "json_fields": 0.0}
    ours, theirs = set(_fields(found, ())), set(_fields(expected, ()))
    return {
        "json_valid": 1.0,
        "json_exact": float(ours == theirs),
        "json_fields": 2 * len(ours & theirs) / (len(ours) + len(theirs)),
    }


def _fields(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _fields(item, (*path, key))
    elif isinstance(value, list) and value:
        for place, item in enumerate(value):
            yield from _fields(item, (*path, place))
    else:
        whole = isinstance(value, float) and value.is_integer()
        yield path, json.dumps(int(value) if whole else value)
