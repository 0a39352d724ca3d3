"""Spans whose borders are not where words begin and end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from luthier.data.checks.base import TRAIN, Context, short
from luthier.data.samples import Finding, Sample, Span
from luthier.data.tags import _JOINING as JOINING


class SpanBorders:
    """One finding per span and kind."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._spans = self._rows = self._with = 0

    def see(self, index: int, sample: Sample) -> None:
        found = sample.target if isinstance(sample.target, tuple) else ()
        spans = [item for item in found if isinstance(item, Span)]
        if self._context.part == TRAIN:
            self._rows += 1
            self._spans += len(spans)
            self._with += bool(spans)
        for span in spans:
            self._borders(index, sample.text, span)

    def _borders(self, index: int, text: str, span: Span) -> None:
        piece = text[span.start : span.end]
        shown = f"the span {short(piece, 40)} ({span.start} to {span.end}, {short(span.label, 30)})"
        if piece != piece.strip():
            begin = span.start + len(piece) - len(piece.lstrip())
            end = begin + len(piece.strip())
            self._context.report(
                self._context.table.finding(
                    index,
                    "span_whitespace",
                    "warning",
                    f"{shown} begins or ends with white space.",
                    f"Write start {begin} and end {end}." if piece.strip() else "Remove it; it holds no word.",
                )
            )
            return
        if _inside_word(text, span.start) or _inside_word(text, span.end):
            where = "begins" if _inside_word(text, span.start) else "ends"
            self._context.report(
                self._context.table.finding(
                    index,
                    "span_inside_word",
                    "warning",
                    f"{shown} {where} inside a word.",
                    "Count characters from 0, the end not included; or widen the span to whole words.",
                )
            )

    def finish(self) -> Iterator[Finding]:
        return iter(())

    def stats(self) -> dict[str, Any]:
        return {
            "spans": {
                "spans": self._spans,
                "rows_with_spans": self._with,
                "rows_without": self._rows - self._with,
            }
        }


def _inside_word(text: str, at: int) -> bool:
    """Whether a word goes on across the border before the character `at`."""
    if not 0 < at < len(text):
        return False
    return JOINING.match(text[at - 1]) is not None and JOINING.match(text[at]) is not None
