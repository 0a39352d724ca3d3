"""What a chart shows: named series over one pair of axes, and how its numbers and colours are told."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

LIGHT = ("#1b5eaf", "#e7660c", "#00a25e", "#aa5085", "#5a4a00", "#3e06b8")
DARK = ("#8ca8f3", "#f2761c", "#57e6c2", "#b07a8c", "#f2eb88", "#9a5cff")
"""Colours of the series on white and on near-black. Chosen by search for the largest smallest difference (CIE Lab)
between any two of them, as seen with each kind of colour blindness (Machado et al. 2009), at a contrast of 3:1 with
the page (WCAG 2.2, 1.4.11); tests/evaluate/test_charts.py holds the numbers."""
MUTED = ("#8a94a0", "#77828f")
"""Grey, on white and on near-black, for what the rest is compared with."""

Kind = Literal["line", "points", "bars"]


@dataclass(frozen=True, slots=True)
class Series:
    """Named values.

    Args:
        x: numbers, or names of categories.
        y: None or NaN leaves a gap. low, high: the interval of each value, in its units; a band around a line,
            whiskers at points and bars.
        text: a word or two for each value, shown beside points and in the table.
        muted: grey, for what the others are compared with.
    """

    name: str
    x: Sequence[float | str]
    y: Sequence[float | None]
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None
    kind: Kind = "line"
    text: Sequence[str] | None = None
    muted: bool = False

    def __post_init__(self) -> None:
        for name, values in (("y", self.y), ("low", self.low), ("high", self.high), ("text", self.text)):
            if values is not None and len(values) != len(self.x):
                raise ValueError(f"series {self.name!r}: x has {len(self.x)} values, {name} has {len(values)}")
        if (self.low is None) != (self.high is None):
            raise ValueError(f"series {self.name!r}: low and high belong together")


@dataclass(frozen=True, slots=True)
class Value:
    """One finite value of a series, with its interval where it has one."""

    x: float | str
    y: float
    low: float | None
    high: float | None
    text: str


@dataclass(frozen=True)
class ChartData:
    """Series over one pair of axes.

    Args:
        log_x, log_y: logarithmic axes; a value that is not positive is in the table only.
        note: a sentence below the picture. percent_y: y is a share, told in percent.
        vertical_line: a place on the x axis, or (place, name), to mark.
        legend: whether the series are named above the picture, where there are several.
    """

    title: str
    x_title: str
    y_title: str
    series: Sequence[Series]
    log_x: bool = False
    log_y: bool = False
    note: str = ""
    percent_y: bool = False
    vertical_line: float | tuple[float, str] | None = None
    legend: bool = True

    @property
    def categories(self) -> list[str] | None:
        """The names along x in order of appearance; None where x is numbers."""
        names = [x for one in self.series for x in one.x if isinstance(x, str)]
        return list(dict.fromkeys(names)) or None

    @property
    def is_sideways(self) -> bool:
        """Named bars or points lie below each other, so that long names can be read."""
        return self.categories is not None and all(one.kind != "line" for one in self.series)

    @property
    def colours(self) -> list[int | None]:
        """The place of each series in the palette; None for a muted one."""
        count = -1
        found: list[int | None] = []
        for one in self.series:
            count += not one.muted
            found.append(None if one.muted else count % len(LIGHT))
        return found

    @property
    def mark(self) -> tuple[float, str] | None:
        """The vertical line's place and name."""
        line = self.vertical_line
        return line if line is None or isinstance(line, tuple) else (line, "")

    def values(self, series: Series) -> list[Value]:
        """The values that can be drawn."""
        found = []
        for i, (x, y) in enumerate(zip(series.x, series.y, strict=True)):
            low = None if series.low is None else series.low[i]
            high = None if series.high is None else series.high[i]
            if y is None or not math.isfinite(y) or (self.log_y and y <= 0):
                continue
            if not isinstance(x, str) and (not math.isfinite(x) or (self.log_x and x <= 0)):
                continue
            known = low is not None and high is not None and math.isfinite(low) and math.isfinite(high)
            if not known or (self.log_y and low is not None and low <= 0):
                low = high = None
            found.append(Value(x, y, low, high, "" if series.text is None else series.text[i]))
        return found

    def told_y(self, value: float | None) -> str:
        """A value of the y axis as people read it."""
        if value is None or not math.isfinite(value):
            return "–"  # noqa: RUF001 - a typographic dash
        return f"{100 * value:.1f} %" if self.percent_y else told(value)

    def description(self) -> str:
        """The chart in words, for people who do not see it: every value of a short series, the course of a long one."""
        parts = []
        for one in self.series:
            values = self.values(one)
            if not values:
                parts.append(f"{one.name}: no values.")
            elif len(values) <= 12:
                parts.append(f"{one.name}: " + ", ".join(f"{told(v.x)} {self._with_interval(v)}" for v in values) + ".")
            else:
                lowest, highest = min(values, key=lambda v: v.y), max(values, key=lambda v: v.y)
                parts.append(
                    f"{one.name}: {len(values)} values from {self.told_y(values[0].y)} at {told(values[0].x)} to "
                    f"{self.told_y(values[-1].y)} at {told(values[-1].x)}, between {self.told_y(lowest.y)} and "
                    f"{self.told_y(highest.y)}."
                )
        axes = f"{self.y_title or 'Values'} over {self.x_title}. " if self.x_title else ""
        return axes + " ".join(parts)

    def _with_interval(self, value: Value) -> str:
        if value.low is None:
            return self.told_y(value.y)
        return f"{self.told_y(value.y)} ({self.told_y(value.low)} to {self.told_y(value.high)})"


def told(value: float | str) -> str:
    """A number in few digits; a name as it is."""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def text_width(words: str, size: float = 12.0) -> float:
    """About how wide a line is in the units of `size`; full-width letters count twice."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in words)
    return 0.56 * size * (len(words) + 0.8 * wide)


def fitted(words: str, width: float, size: float = 12.0) -> str:
    """`words`, cut with an ellipsis where they are wider than `width`."""
    if text_width(words, size) <= width:
        return words
    while words and text_width(words + "…", size) > width:
        words = words[:-1]
    return words + "…"


def free_sides(
    spots: Sequence[tuple[float, float]], words: Sequence[str], left: float, right: float
) -> list[str | None]:
    """For the words at each spot the first side, by Plotly's names, where they meet nothing else; else None."""
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in spots]
    sides: list[str | None] = []
    for (x, y), name in zip(spots, words, strict=True):
        width, side = text_width(name), None
        corners = {
            "middle right": (x + 8, y + 4), "middle left": (x - 8 - width, y + 4),
            "top center": (x - width / 2, y - 9), "bottom center": (x - width / 2, y + 18),
        }  # fmt: skip
        for possible, (start, base) in corners.items():
            a, b, c, d = start, base - 10, start + width, base + 3
            if name and a > left and c < right and all(c < e or a > g or d < f or b > h for e, f, g, h in taken):
                taken.append((a, b, c, d))
                side = possible
                break
        sides.append(side)
    return sides
