"""Texts that were damaged on their way: mojibake, lost characters, control and invisible ones."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

from luthier.data.checks.base import Context, short
from luthier.data.samples import Finding, Sample

LOOKED_AT = 20_000
"""Characters of a text in which mojibake is looked for."""
SURE = 3
"""Badness from which a text counts as mojibake although no repair is known."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# Not here: joiners (U+200C, U+200D) and direction marks (U+200E, U+200F), which scripts and emoji need.
_INVISIBLE = re.compile(r"[\u00ad\u200b\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
_LOST = "\ufffd"


def character(sign: str) -> str:
    """``U+200B ZERO WIDTH SPACE``."""
    return f"U+{ord(sign):04X} {unicodedata.name(sign, 'control character')}"


class TextQuality:
    """One finding per row, column and kind of damage."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._counts = {
            "mojibake": 0,
            "lost_characters": 0,
            "control_characters": 0,
            "invisible_characters": 0,
        }
        self._repair: Callable[[str], str | None] | None = None

    def see(self, index: int, sample: Sample) -> None:
        for column, text in self._context.texts(sample):
            control = _CONTROL.search(text)
            if control:
                self._found(
                    index,
                    "control_characters",
                    f"{column!r} holds the control character {character(control.group())}.",
                    "Remove it; it was never meant to be read.",
                )
            if text.isascii():
                continue
            invisible = _INVISIBLE.search(text)
            if invisible:
                self._found(
                    index,
                    "invisible_characters",
                    f"{column!r} holds the invisible character {character(invisible.group())}.",
                    "Remove it; it splits words for the model without being seen.",
                )
            if _LOST in text:
                self._found(
                    index,
                    "lost_characters",
                    f"{column!r} holds U+FFFD, which stands for a character that could not be read.",
                    "Read the original file again with its right encoding.",
                )
            self._mojibake(index, column, text[:LOOKED_AT])

    def _mojibake(self, index: int, column: str, text: str) -> None:
        if self._repair is None:
            self._repair = _repairer()
        repaired = self._repair(text)
        if repaired is None:
            return
        if repaired == text:
            suggestion = "Read the original file again with its right encoding."
        else:
            at = next((k for k, (one, other) in enumerate(zip(text, repaired, strict=False)) if one != other), 0)
            begin = max(0, at - 12)
            wrong, right = short(text[begin : at + 20], 32), short(repaired[begin : at + 20], 32)
            suggestion = f"Probably {wrong} should be {right}; read the original file again as UTF-8."
        self._found(index, "mojibake", f"{column!r} looks like text read with a wrong encoding.", suggestion)

    def _found(self, index: int, code: str, message: str, remedy: str) -> None:
        self._counts[code] += 1
        self._context.report(self._context.table.finding(index, code, "warning", message, remedy))

    def finish(self) -> Iterator[Finding]:
        return iter(())

    def stats(self) -> dict[str, Any]:
        return {"text_quality": self._counts}


def _repairer() -> Callable[[str], str | None]:
    """Gives the repaired text, the text itself where no repair is known, None where nothing is wrong."""
    from ftfy import fix_encoding
    from ftfy.badness import badness

    def repair(text: str) -> str | None:
        bad = badness(text)
        if not bad:
            return None
        repaired = fix_encoding(text)
        return repaired if repaired != text or bad >= SURE else None

    return repair
