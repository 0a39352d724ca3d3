"""Parallel coordinates (Inselberg 1985): one line per trial through an axis per parameter, ending at its result.

One static SVG in the colours of the page; everything that came from outside is escaped. The values stand in the page's
table of trials, so the picture's words are a summary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from luthier.evaluate.chart_data import fitted, text_width
from luthier.evaluate.chart_svg import colour

_TOP, _BOTTOM, _SIDE = 58.0, 250.0, 34.0
_BETWEEN = 118.0  # of two axes, at least
_INK, _FAINT = "var(--ink,#1c232d)", "var(--muted,#566270)"


@dataclass(frozen=True)
class Axis:
    """A parameter, or the result at the right.

    Attributes:
        ticks: (value, its words), at least two; numbers, or the choices by their place from 0.
    """

    name: str
    ticks: Sequence[tuple[float, str]]
    is_log: bool = False

    def at(self, value: float) -> float:
        """Where a value lies, 0 at the bottom and 1 at the top."""
        low, high = self.ticks[0][0], self.ticks[-1][0]
        if self.is_log:
            value, low, high = math.log10(max(value, 1e-300)), math.log10(low), math.log10(high)
        return 0.5 if high == low else min(1.0, max(0.0, (value - low) / (high - low)))


@dataclass(frozen=True)
class Line:
    """A trial: a value per axis, None where it has none; `rank` from 0 (best) to 1."""

    name: str
    values: Sequence[float | None]
    rank: float
    is_best: bool = False


def parallel(title: str, axes: Sequence[Axis], lines: Sequence[Line], note: str) -> str:
    """The picture as a ``<figure>``. The best is drawn last and thickest, the best quarter in colour, the rest grey."""
    between = max(_BETWEEN, 420.0 / max(1, len(axes) - 1))
    width = 2 * _SIDE + between * (len(axes) - 1) + 40
    places = [_SIDE + 20 + between * i for i in range(len(axes))]
    ordered = sorted(lines, key=lambda one: (one.is_best, -one.rank))
    parts = [_path(line, axes, places) for line in ordered]
    parts += [_axis(axis, x, between) for axis, x in zip(axes, places, strict=True)]
    words = f"{len(lines)} trials over {', '.join(axis.name for axis in axes)}"
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} 274" role="img" class="picture" '
        f'style="font-size:12px;min-width:{width:.0f}px;max-width:{1.25 * width:.0f}px" '
        f'aria-label="{escape(title)}"><title>{escape(title)}</title>'
        f"<desc>{escape(words)}</desc>{''.join(parts)}</svg>"
    )
    return (
        f'<figure class="chart" id="parallel" style="max-width:none"><figcaption>{escape(title)}</figcaption>'
        f'<div class="still scroll" role="group" tabindex="0" aria-label="{escape(title)}">{svg}</div>'
        f'<p class="note">{escape(note)}</p></figure>'
    )


def _path(line: Line, axes: Sequence[Axis], places: Sequence[float]) -> str:
    heights = [
        _BOTTOM + 10 if value is None else _BOTTOM - axis.at(value) * (_BOTTOM - _TOP)  # below an axis it does not have
        for axis, value in zip(axes, line.values, strict=True)
    ]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(places, heights, strict=True))
    if line.is_best:
        style = f"stroke:{colour(1)};stroke-width:3.2"
    elif line.rank <= 0.25:
        style = f"stroke:{colour(0)};stroke-width:1.8;stroke-opacity:.9"
    else:
        style = f"stroke:{colour(None)};stroke-width:1.1;stroke-opacity:.55"
    shape = f'<polyline points="{points}" style="fill:none;stroke-linejoin:round;{style}">'
    return f"{shape}<title>{escape(line.name)}</title></polyline>"


def _axis(axis: Axis, x: float, between: float) -> str:
    parts = [
        f'<line x1="{x:.1f}" y1="{_TOP:.1f}" x2="{x:.1f}" y2="{_BOTTOM:.1f}" style="stroke:{_INK};stroke-width:1"/>'
    ]
    key, _, note = axis.name.partition(" ")
    for row, words in enumerate((key.rsplit(".", 1)[-1], note)):
        if words:
            shown = fitted(words, between - 6)
            parts.append(
                f'<text x="{x:.1f}" y="{20 + 15 * row}" text-anchor="middle" style="fill:{_INK}">{escape(shown)}'
                f"<title>{escape(axis.name)}</title></text>"
            )
    for value, words in axis.ticks:
        y = _BOTTOM - axis.at(value) * (_BOTTOM - _TOP)
        shown = fitted(words, between - 30)
        back = text_width(shown) + 4
        parts.append(
            f'<rect x="{x + 5:.1f}" y="{y - 8:.1f}" width="{back:.1f}" height="15" '
            f'style="fill:var(--paper,#fff);fill-opacity:.75"/>'
            f'<text x="{x + 7:.1f}" y="{y + 4:.1f}" style="fill:{_FAINT}">{escape(shown)}</text>'
        )
    return "".join(parts)
