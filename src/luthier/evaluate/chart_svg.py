"""A chart as one static SVG: right without scripts, in print, and in light and dark by CSS custom properties.

Everything that came from outside is escaped. Lengths are in the picture's own units, about pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from luthier.evaluate.chart_data import LIGHT, MUTED, ChartData, Series, Value, fitted, free_sides, text_width, told
from luthier.evaluate.chart_scale import Scale, scale_of, tick_name

WIDTH, HEIGHT = 480.0, 290.0
_INK, _FAINT, _HAIR = "var(--ink,#1c232d)", "var(--muted,#566270)", "var(--hair,#e2e6ea)"
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "5 2", "1 2")
_SQUARE, _TRIANGLE = ((-3.4, -3.4), (3.4, -3.4), (3.4, 3.4), (-3.4, 3.4)), ((0, -4.6), (4.4, 3.2), (-4.4, 3.2))
_SIDES = {
    "middle right": ("start", 8.0, 4.0), "middle left": ("end", -8.0, 4.0),
    "top center": ("middle", 0.0, -9.0), "bottom center": ("middle", 0.0, 18.0),
}  # fmt: skip
_WORDS = 170.0  # the widest text beside a point
_ROW = 30.0  # of a category in a sideways chart
_SIZE = 12.0  # of letters


def draw(chart: ChartData) -> str:
    """The picture; its letters stay readable down to a width of 360 pixels, below which its frame scrolls."""
    drawable = [value for one in chart.series for value in chart.values(one)]
    body, height = _legend(chart), HEIGHT
    top = body[1]
    if not drawable:
        parts = [_text(WIDTH / 2, HEIGHT / 2, "nothing to show", "middle", _FAINT)]
    elif chart.is_sideways:
        parts, height = _sideways(chart, top)
    else:
        parts = _upright(chart, top)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height:g}" role="img" class="picture" '
        f'aria-label="{escape(chart.title)}" style="font-size:{_SIZE:g}px"><title>{escape(chart.title)}</title>'
        f"<desc>{escape(chart.description())}</desc>" + "".join([*body[0], *parts]) + "</svg>"
    )


def colour(place: int | None) -> str:
    """CSS colour of a place in the palette, right in light and dark."""
    return f"var(--muted-series,{MUTED[0]})" if place is None else f"var(--series-{place},{LIGHT[place]})"


def _upright(chart: ChartData, top: float) -> list[str]:
    names = chart.categories
    drawn = [(one, chart.values(one), place) for one, place in zip(chart.series, chart.colours, strict=True)]
    values = [value for _, found, _ in drawn for value in found]
    heights = [end for v in values for end in (v.y, v.low, v.high) if end is not None]
    if any(one.kind == "bars" for one in chart.series) and not chart.log_y:
        heights.append(0.0)
    bottom = HEIGHT - 40
    top += 20.0 if chart.y_title else 6.0
    up = scale_of(heights, bottom, top, is_log=chart.log_y)
    labels = [tick_name(tick, percent=chart.percent_y) for tick in up.ticks]
    left = 14 + max(text_width(label) for label in labels)
    places = [_place(value.x, names) for value in values] + ([chart.mark[0]] if chart.mark else [])
    right = WIDTH - 14
    if names:
        along = Scale(-0.5, len(names) - 0.5, left, right, range(len(names)))
    else:
        room = 0.7 / max(1, len(set(places))) if any(one.kind == "bars" for one in chart.series) else 0.03
        along = scale_of(places, left, right, is_log=chart.log_x, tight=True, number=6, room=room)
    parts = [_text(2, top - 11, fitted(chart.y_title, WIDTH - 8), "start", _FAINT)] if chart.y_title else []
    for tick, label in zip(up.ticks, labels, strict=True):
        parts += [_line(left, up.at(tick), right, up.at(tick), _HAIR), _text(left - 6, up.at(tick) + 4, label, "end")]
    parts += _names_below(along, names, bottom)
    parts.append(_text((left + right) / 2, HEIGHT - 5, fitted(chart.x_title, right - left), "middle", _FAINT))
    if chart.mark:
        x = along.at(chart.mark[0])
        anchor, shift = ("end", -5.0) if x > (left + right) / 2 else ("start", 5.0)
        parts += [_line(x, top, x, bottom, _INK, dash="3 3"), _text(x + shift, top + 10, chart.mark[1], anchor, _INK)]
    bars = [one for one, _, _ in drawn if one.kind == "bars"]
    for one, found, place in drawn:
        points = [(along.at(_place(v.x, names)), up.at(v.y), v) for v in found]
        if one.kind == "bars":
            width = min(34.0, 0.5 * (right - left) / max(1, len(set(places)))) / len(bars)
            shift = width * (bars.index(one) - (len(bars) - 1) / 2)
            base = up.at(0.0) if up.low <= 0 <= up.high and not up.is_log else bottom
            for x, y, v in points:
                tip = _tip(chart, one, v)
                box = (x + shift - width / 2, min(y, base), width * 0.92, abs(base - y))
                parts += [_box(*box, place, tip), *_whisker(v, up, x + shift, None)]
            continue
        parts += _marks(chart, one, points, place, up)
    return parts + _beside(drawn, along, up, names)


def _marks(
    chart: ChartData, one: Series, points: Sequence[tuple[float, float, Value]], place: int | None, up: Scale
) -> list[str]:
    parts = []
    if one.kind == "line":
        banded = [(x, up.at(v.low), up.at(v.high)) for x, _, v in points if v.low is not None and v.high is not None]
        if banded:
            outline = [(x, high) for x, _, high in banded] + [(x, low) for x, low, _ in reversed(banded)]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in outline)
            parts.append(f'<polygon points="{path}" style="fill:{colour(place)};fill-opacity:.16"/>')
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
        dash = _DASHES[0 if place is None else place]
        style = f"fill:none;stroke:{colour(place)};stroke-width:2;stroke-linejoin:round"
        parts.append(f'<polyline points="{path}" style="{style}{f";stroke-dasharray:{dash}" if dash else ""}"/>')
    if one.kind == "points" or len(points) <= 30:
        for x, y, v in points:
            whisker = _whisker(v, up, x, None) if one.kind == "points" else []
            parts += [*whisker, _dot(x, y, place, _tip(chart, one, v))]
    return parts


def _sideways(chart: ChartData, top: float) -> tuple[list[str], float]:
    names = chart.categories or []
    drawn = [(one, chart.values(one), place) for one, place in zip(chart.series, chart.colours, strict=True)]
    values = [value for _, found, _ in drawn for value in found]
    ends = [end for v in values for end in (v.y, v.low, v.high) if end is not None]
    if any(one.kind == "bars" for one in chart.series) and not chart.log_y:
        ends.append(0.0)
    left = min(0.42 * WIDTH, 14 + max(text_width(name) for name in names))
    right = WIDTH - 12 - max(text_width(chart.told_y(v.y)) for v in values)
    along = scale_of(ends, left, right, is_log=chart.log_y, number=4)
    sharing = {name: [one for one, found, _ in drawn if any(v.x == name for v in found)] for name in names}
    rows = {name: _ROW if len(found) < 2 else 17.0 * len(found) + 12 for name, found in sharing.items()}
    floor = top + 4 + sum(rows.values())
    parts = []
    for tick in along.ticks:
        zero = tick == 0 and any(one.kind == "bars" for one in chart.series)
        parts.append(_line(along.at(tick), top, along.at(tick), floor, _FAINT if zero else _HAIR))
    labels = {tick: tick_name(tick, percent=chart.percent_y) for tick in along.ticks}
    parts += [_text(along.at(tick), floor + 16, label, "middle") for tick, label in labels.items()]
    y = top + 2
    for name in names:
        middle = y + rows[name] / 2
        parts.append(_text(left - 8, middle + 4, fitted(name, left - 12), "end", _INK, tip=name))
        thick = 16.0 if len(sharing[name]) < 2 else 14.0
        for one, found, place in drawn:
            for v in (v for v in found if v.x == name):
                at = middle + 17.0 * (sharing[name].index(one) - (len(sharing[name]) - 1) / 2)
                tip = _tip(chart, one, v)
                if one.kind == "bars":
                    base = along.at(0.0) if not along.is_log else left
                    start, end = sorted((base, along.at(v.y)))
                    parts.append(_box(start, at - thick / 2, end - start, thick, place, tip))
                parts += _whisker(v, along, None, at)
                if one.kind == "points":
                    parts.append(_dot(along.at(v.y), at, place, tip))
                parts.append(_text(WIDTH - 4, at + 4, chart.told_y(v.y), "end", _INK))
        y += rows[name]
    if chart.y_title:
        parts.append(_text((left + right) / 2, floor + 33, fitted(chart.y_title, WIDTH - left), "middle", _FAINT))
    return parts, floor + (40 if chart.y_title else 22)


def _legend(chart: ChartData) -> tuple[list[str], float]:
    """The names of the series, where there are several; and how far down they reach."""
    if len(chart.series) < 2 or not chart.legend:
        return [], 6.0
    parts, x, y = [], 4.0, 8.0
    for one, place in zip(chart.series, chart.colours, strict=True):
        name = fitted(one.name, WIDTH - 40)
        if x > 4 and x + 26 + text_width(name) > WIDTH:
            x, y = 4.0, y + 18
        if one.kind == "line":
            parts.append(_line(x, y, x + 18, y, colour(place), 2.0, dash=_DASHES[0 if place is None else place]))
        elif one.kind == "points":
            parts.append(_dot(x + 9, y, place, ""))
        else:
            parts.append(_box(x + 3, y - 6, 12, 12, place, ""))
        parts.append(_text(x + 24, y + 4, name, "start", _INK))
        x += 42 + text_width(name)
    return parts, y + 16


def _names_below(along: Scale, names: Sequence[str] | None, bottom: float) -> list[str]:
    if not names:
        parts, free = [], -1e9
        for tick in along.ticks:
            label, x = tick_name(tick), along.at(tick)
            if x - text_width(label) / 2 > free:
                parts.append(_text(x, bottom + 16, label, "middle"))
                free = x + text_width(label) / 2 + 6
        return parts
    room = (along.end - along.start) / len(names)
    every = max(1, round(34 / room + 0.5)) if room < 34 else 1
    shown = [(i, name) for i, name in enumerate(names) if i % every == 0]
    return [_text(along.at(i), bottom + 16, fitted(name, room * every - 4), "middle", tip=name) for i, name in shown]


def _beside(
    drawn: Sequence[tuple[Series, list[Value], int | None]], along: Scale, up: Scale, names: Sequence[str] | None
) -> list[str]:
    found = [v for one, values, _ in drawn if one.kind == "points" for v in values]
    spots = [(along.at(_place(v.x, names)), up.at(v.y)) for v in found]
    words = [fitted(v.text, _WORDS) for v in found]
    sides = free_sides(spots, words, along.start - 20, WIDTH)
    parts = []
    for (x, y), name, side in zip(spots, words, sides, strict=True):
        anchor, dx, dy = _SIDES[side] if side else ("", 0.0, 0.0)
        parts.append(_text(x + dx, y + dy, name, anchor, _INK) if side else "")
    return parts


def _place(x: float | str, names: Sequence[str] | None) -> float:
    return float(names.index(str(x))) if names else float(x)


def _tip(chart: ChartData, series: Series, value: Value) -> str:
    interval = f" ({chart.told_y(value.low)} to {chart.told_y(value.high)})" if value.low is not None else ""
    words = f"{series.name}, {told(value.x)}: {chart.told_y(value.y)}{interval}"
    return f"{words}, {value.text}" if value.text else words


def _text(x: float, y: float, words: str, anchor: str, fill: str = _FAINT, *, tip: str = "") -> str:
    if not words:
        return ""
    note = f"<title>{escape(tip)}</title>" if tip and tip != words else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="fill:{fill}">{escape(words)}{note}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, stroke: str, width: float = 1.0, *, dash: str = "") -> str:
    style = f"stroke:{stroke};stroke-width:{width:g}" + (f";stroke-dasharray:{dash}" if dash else "")
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" style="{style}"/>'


def _box(x: float, y: float, width: float, height: float, place: int | None, tip: str) -> str:
    note = f"<title>{escape(tip)}</title>" if tip else ""
    size = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect {size} style="fill:{colour(place)}">{note}</rect>'


def _dot(x: float, y: float, place: int | None, tip: str) -> str:
    """A mark whose form, too, tells the series."""
    note = f"<title>{escape(tip)}</title>" if tip else ""
    style = f'style="fill:{colour(place)}"'
    form = 0 if place is None else place % 3
    if form == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.6" {style}>{note}</circle>'
    path = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in (_SQUARE if form == 1 else _TRIANGLE))
    return f'<polygon points="{path}" {style}>{note}</polygon>'


def _whisker(value: Value, scale: Scale, x: float | None, y: float | None) -> list[str]:
    """The interval, upright at `x` or lying at `y`."""
    if value.low is None or value.high is None:
        return []
    low, high = scale.at(value.low), scale.at(value.high)
    if x is not None:
        ends = [(x, low, x, high), (x - 4, low, x + 4, low), (x - 4, high, x + 4, high)]
    elif y is not None:
        ends = [(low, y, high, y), (low, y - 4, low, y + 4), (high, y - 4, high, y + 4)]
    else:
        ends = []
    return [_line(*end, _INK, 1.3) for end in ends]
