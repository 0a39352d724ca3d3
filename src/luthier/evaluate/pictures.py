"""Small inline SVG pictures: curves and bars. No script, no outside style; colours are CSS classes of the page.

Every function gives one ``<svg>`` as text, everything that came from outside escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """A named line; `style` is its CSS class (``train``, ``ours``)."""

    name: str
    points: Sequence[Point]
    style: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A named value with its interval (None: unknown)."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    is_ours: bool = False


def svg(width: float, height: float, label: str, body: Sequence[str], *, smallest: float = 320.0) -> str:
    """The frame: scales with its column between `smallest` and 1.15 times its width in pixels, so
    that its letters stay readable, and tells screen readers what it shows."""
    size = f"min-width: {min(smallest, width):.0f}px; max-width: {1.15 * width:.0f}px"
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}" '
        f'class="picture" style="{size}">' + "".join(body) + "</svg>"
    )


def text(x: float, y: float, words: str, anchor: str = "start", style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{style}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{style}"/>'


def rectangle(
    x: float, y: float, width: float, height: float, style: str, *, opacity: float = 1.0, title: str = ""
) -> str:
    tip = f"<title>{escape(title)}</title>" if title else ""
    faint = f' fill-opacity="{opacity:.2f}"' if opacity < 1 else ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}" '
        f'class="{style}"{faint}>{tip}</rect>'
    )


def ticks(low: float, high: float, number: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from at most `low` to at least `high`."""
    span = (high - low) or abs(high) or 1.0
    rough = span / number
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


def thinned(points: Sequence[Point], most: int = 200) -> list[Point]:
    """At most `most` points: neighbours are averaged, so that a noisy curve keeps its course."""
    if len(points) <= most:
        return list(points)
    edges = [round(i * len(points) / most) for i in range(most + 1)]
    groups = [points[a:b] for a, b in pairwise(edges)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def line_chart(
    series: Sequence[Series], *, x_name: str, label: str, mark: float | None = None, mark_name: str = ""
) -> str:
    """Curves over one axis; `mark` draws an upright line (the kept state)."""
    width, height, left, right, top, bottom = 450.0, 250.0, 46.0, 14.0, 34.0, 38.0
    series = [Series(one.name, thinned(one.points), one.style) for one in series if one.points]
    if not series:
        return ""
    xs = [x for one in series for x, _ in one.points] + ([] if mark is None else [mark])
    ys = [y for one in series for _, y in one.points]
    x_low, x_high = min(xs), max(xs)
    y_ticks = ticks(min(ys), max(ys))
    if x_high == x_low:
        x_low, x_high = x_low - 0.5, x_high + 0.5

    def at_x(x: float) -> float:
        return left + (x - x_low) / (x_high - x_low) * (width - left - right)

    def at_y(y: float) -> float:
        return height - bottom - (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (height - top - bottom)

    body = []
    for tick in y_ticks:
        body += [
            line(left, at_y(tick), width - right, at_y(tick), "grid"),
            text(left - 7, at_y(tick) + 4, f"{tick:g}", "end", "small"),
        ]
    for tick in ticks(x_low, x_high, 6):
        if x_low <= tick <= x_high:
            body.append(text(at_x(tick), height - bottom + 17, f"{tick:g}", "middle", "small"))
    body.append(text(width - right, height - 5, x_name, "end", "small"))
    if mark is not None:
        x = at_x(mark)
        anchor = "end" if x > width * 0.6 else "start"
        body += [
            line(x, top - 4, x, height - bottom, "mark"),
            text(x + (-6 if anchor == "end" else 6), top + 7, mark_name, anchor, "small marked"),
        ]
    place = left
    for one in series:
        path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in one.points)
        body.append(f'<polyline points="{path}" class="curve {one.style}"/>')
        if len(one.points) <= 30:
            body += [
                f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="3" class="dot {one.style}">'
                f"<title>{escape(one.name)}: {y:.4g}</title></circle>"
                for x, y in one.points
            ]
        body += [line(place, 12, place + 18, 12, f"curve {one.style}"), text(place + 24, 16, one.name, style="small")]
        place += 48 + 6.6 * len(one.name)
    return svg(width, height, label, body)


def bar_chart(bars: Sequence[Bar], *, label: str) -> str:
    """Bars from 0 with interval whiskers, one below the other, the value at the right."""
    bars = [bar for bar in bars if math.isfinite(bar.value)]
    if not bars:
        return ""
    name_width = min(210.0, 16 + 7.8 * max(len(bar.name) for bar in bars))
    row, width, right, top = 34.0, 460.0, 56.0, 6.0
    ends = [end for bar in bars for end in (bar.value, bar.low, bar.high, 0.0) if end is not None]
    scale = ticks(min(ends), max(ends), 4)
    height = top + row * len(bars) + 24

    def at(value: float) -> float:
        return name_width + (value - scale[0]) / (scale[-1] - scale[0]) * (width - right - name_width)

    body = []
    for tick in scale:
        body += [
            line(at(tick), top, at(tick), height - 22, "axis" if tick == 0 else "grid"),
            text(at(tick), height - 6, f"{tick:g}", "middle", "small"),
        ]
    for i, bar in enumerate(bars):
        y = top + row * i
        style = "ours" if bar.is_ours else "other"
        body += [
            text(name_width - 10, y + 22, shortened(bar.name, 28), "end", "strong" if bar.is_ours else ""),
            rectangle(
                min(at(0), at(bar.value)),
                y + 8,
                abs(at(bar.value) - at(0)),
                18,
                f"fill {style}",
                title=f"{bar.name}: {bar.value:.4f}",
            ),
            text(width - 4, y + 22, f"{bar.value:.3f}", "end", "strong" if bar.is_ours else ""),
        ]
        if bar.low is not None and bar.high is not None:
            body += [
                line(at(bar.low), y + 17, at(bar.high), y + 17, "whisker"),
                line(at(bar.low), y + 12, at(bar.low), y + 22, "whisker"),
                line(at(bar.high), y + 12, at(bar.high), y + 22, "whisker"),
            ]
    return svg(width, height, label, body)


def shortened(name: str, most: int) -> str:
    """`name` in at most `most` characters."""
    return name if len(name) <= most else name[: most - 1] + "…"
