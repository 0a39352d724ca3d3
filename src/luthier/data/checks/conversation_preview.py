"""A row as a generative model will see it, with what it learns told apart from what it only reads."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from luthier.core.text import ChatTokenizer
from luthier.data.templates.rendered import Rendered

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Stretch(NamedTuple):
    """Characters that are treated alike."""

    text: str
    weight: float
    special: bool


def conversation_preview(row: Rendered, tokenizer: ChatTokenizer, *, limit: int = 4000) -> list[Stretch]:
    """The rendered text in stretches of one weight; each special token is one of its own.

    Joined, they are the text, or its first `limit` characters.
    """
    borders: list[tuple[int, float, bool]] = []
    for index, weight, (start, _) in zip(row.ids, row.weights, row.offsets, strict=True):
        if start >= limit:
            break
        special = _is_special(tokenizer, index)
        if not borders or special or borders[-1][1:] != (weight, special):
            borders.append((start, weight, special))
    if not borders:
        return []
    borders[0] = (0, *borders[0][1:])
    ends = [*(border[0] for border in borders), min(limit, len(row.text))]
    found = [
        Stretch(row.text[start:end], weight, special)
        for (start, end), (_, weight, special) in zip(pairwise(ends), borders, strict=True)
    ]
    return [stretch for stretch in found if stretch.text]


def preview_text(stretches: Iterable[Stretch]) -> str:
    """Rich markup: what is learned green, the rest dim, special tokens bold; nothing in it steers a terminal."""
    from rich.markup import escape

    parts = []
    for text, weight, special in stretches:
        style = ("bold " if special else "") + ("green" if weight > 0 else "dim")
        shown = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
        if shown.endswith("\\"):
            shown += "\N{ZERO WIDTH NON-JOINER}"  # a backslash would escape the closing tag
        parts.append(f"[{style}]{escape(shown)}[/]")
    return "".join(parts)


def preview_html(stretches: Iterable[Stretch]) -> str:
    """Escaped text in spans of the classes ``learned`` or ``read``, and ``special``."""
    parts = []
    for text, weight, special in stretches:
        classes = ("learned" if weight > 0 else "read") + (" special" if special else "")
        parts.append(f'<span class="{classes}">{html.escape(text)}</span>')
    return "".join(parts)


def _is_special(tokenizer: ChatTokenizer, index: int) -> bool:
    return bool(tokenizer.decode([index], skip_special=False)) and not tokenizer.decode([index], skip_special=True)
