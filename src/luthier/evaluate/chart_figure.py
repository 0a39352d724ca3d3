"""A chart as a Plotly figure: plain JSON, made without Plotly (https://plotly.com/javascript/reference/).

Colours are those of a light page; the page's script exchanges them for the present theme's.
"""

from __future__ import annotations

import math
from typing import Any

from luthier.evaluate.chart_data import (
    LIGHT,
    MUTED,
    ChartData,
    Series,
    Value,
    fitted,
    free_sides,
    text_width,
    told,
)
from luthier.evaluate.chart_scale import scale_of, tick_name

INK, FAINT, HAIR = "#1c232d", "#566270", "#e2e6ea"
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_NAME, _WORDS = 190.0, 170.0  # the widest names along an axis and texts beside a point, pixels
_FORMS = ("circle", "square", "triangle-up")


def figure(chart: ChartData) -> dict[str, Any]:
    """{"data": [...], "layout": {...}}; words from outside are written so that Plotly shows them as they are."""
    traces: list[dict[str, Any]] = []
    for one, place in zip(chart.series, chart.colours, strict=True):
        values = chart.values(one)
        if one.kind == "line" and any(v.low is not None for v in values):
            traces.append(_band(one, values, place))
        traces.append(_trace(chart, one, values, place))
    return {"data": traces, "layout": _layout(chart)}


def plain(words: str) -> str:
    """Plotly reads some HTML in its texts; escaped, it shows them as they are."""
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _trace(chart: ChartData, series: Series, values: list[Value], place: int | None) -> dict[str, Any]:
    colour = _colour(place)
    along = [plain(v.x) if isinstance(v.x, str) else v.x for v in values]
    up = [v.y for v in values]
    trace: dict[str, Any] = {
        "type": "bar" if series.kind == "bars" else "scatter",
        "name": plain(series.name),
        "x": up if chart.is_sideways else along,
        "y": along if chart.is_sideways else up,
        "customdata": [_hover(chart, series, v) for v in values],
        "hovertemplate": "%{customdata}<extra></extra>",
    }
    if series.kind == "bars":
        trace |= {"orientation": "h" if chart.is_sideways else "v", "marker": {"color": colour}}
    else:
        form = _FORMS[0 if place is None else place % 3]
        trace["marker"] = {"color": colour, "size": 8, "symbol": form}
        trace["mode"] = "markers" if series.kind == "points" else "lines+markers" if len(values) <= 30 else "lines"
        if series.kind == "line":
            trace["line"] = {"color": colour, "width": 2, "dash": _DASHES[0 if place is None else place]}
        elif series.text is not None and not chart.is_sideways:
            sides = _sides(chart)[id(series)]
            trace |= {"mode": "markers+text", "textposition": [side or "top center" for side in sides]}
            shown = [fitted(v.text, _WORDS) if side else "" for v, side in zip(values, sides, strict=True)]
            trace |= {"text": [plain(words) for words in shown], "cliponaxis": False}
    if series.kind != "line" and any(v.low is not None for v in values):
        trace["error_x" if chart.is_sideways else "error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [None if v.high is None else v.high - v.y for v in values],
            "arrayminus": [None if v.low is None else v.y - v.low for v in values],
            "color": INK,
            "thickness": 1.3,
            "width": 4,
        }
    return trace


def _band(series: Series, values: list[Value], place: int | None) -> dict[str, Any]:
    held = [v for v in values if v.low is not None]
    along = [plain(v.x) if isinstance(v.x, str) else v.x for v in held]
    return {
        "type": "scatter",
        "name": plain(series.name),
        "x": along + along[::-1],
        "y": [v.high for v in held] + [v.low for v in reversed(held)],
        "mode": "lines",
        "line": {"width": 0},
        "fill": "toself",
        "fillcolor": _colour(place),
        "opacity": 0.16,
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _sides(chart: ChartData) -> dict[int, list[str | None]]:
    """Where the texts of each series of points stand, by the series' id: as in a picture of a usual size."""
    dotted = [(one, chart.values(one)) for one in chart.series if one.kind == "points"]
    found = [v for _, values in dotted for v in values]
    names = chart.categories
    if not found:
        return {id(one): [] for one, _ in dotted}
    places = [float(names.index(str(v.x))) if names else float(v.x) for v in found]
    along = scale_of(places, 0, 400, is_log=chart.log_x, tight=True)
    up = scale_of([v.y for v in found], 250, 0, is_log=chart.log_y, tight=True)
    spots = [(along.at(place), up.at(v.y)) for place, v in zip(places, found, strict=True)]
    sides = iter(free_sides(spots, [fitted(v.text, _WORDS) for v in found], -20, 430))
    return {id(one): [next(sides) for _ in values] for one, values in dotted}


def _hover(chart: ChartData, series: Series, value: Value) -> str:
    where = f"{chart.x_title} {told(value.x)}" if chart.x_title and not isinstance(value.x, str) else told(value.x)
    interval = f" ({chart.told_y(value.low)} to {chart.told_y(value.high)})" if value.low is not None else ""
    lines = [series.name, where, chart.told_y(value.y) + interval, value.text]
    return "<br>".join(plain(words) for words in lines if words)


def _layout(chart: ChartData) -> dict[str, Any]:
    title = {"font": {"size": 13}, "standoff": 8}
    values: dict[str, Any] = {"title": title | {"text": plain(chart.y_title)}, "automargin": True, "gridcolor": HAIR}
    values |= {"zerolinecolor": HAIR, "type": "log" if chart.log_y else "linear"}
    if chart.percent_y:
        values |= {"tickformat": ".3~%"}
    places: dict[str, Any] = {"title": title | {"text": plain(chart.x_title)}, "automargin": True, "showgrid": False}
    places |= {"zeroline": False, "type": "category" if chart.categories else "log" if chart.log_x else "linear"}
    if chart.categories:
        names = [plain(name) for name in chart.categories]
        places |= {"categoryorder": "array", "categoryarray": names, "tickmode": "array", "tickvals": names}
        places |= {"ticktext": [plain(fitted(name, _NAME)) for name in chart.categories]}
    if chart.is_sideways:
        places |= {"autorange": "reversed", "title": title | {"text": ""}, "ticklabelstandoff": 6}
    found = [v for one in chart.series for v in chart.values(one)]
    if found and chart.log_y:
        values |= _log_ticks([end for v in found for end in (v.y, v.low, v.high) if end is not None], chart.percent_y)
    if found and chart.log_x:
        places |= _log_ticks([float(v.x) for v in found])
    barred = [x for one in chart.series if one.kind == "bars" for x in one.x]
    layout: dict[str, Any] = {
        "xaxis": values if chart.is_sideways else places,
        "yaxis": places if chart.is_sideways else values,
        "barmode": "group" if len(set(barred)) < len(barred) else "overlay",
        "bargap": 0.42,
        "showlegend": len(chart.series) > 1 and chart.legend,
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        "margin": {"l": 8, "r": 14, "t": 14, "b": 8},
        "font": {"color": FAINT, "size": 13},
        "hoverlabel": {"align": "left"},
        "hovermode": "closest",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
    }
    if chart.is_sideways:
        layout["annotations"] = _values_beside(chart)
        layout["margin"]["r"] = 14 + text_width(max((chart.told_y(v.y) for v in found), key=len, default=""), 13)
    if chart.mark:
        at, name = chart.mark
        line = {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "paper"}
        layout["shapes"] = [line | {"line": {"color": INK, "width": 1, "dash": "dot"}}]
        x = math.log10(at) if chart.log_x else at
        note = {"x": x, "xanchor": "left", "xshift": 4, "y": 1, "yref": "paper", "yanchor": "top", "showarrow": False}
        layout["annotations"] = [note | {"text": plain(name), "font": {"color": INK}}] if name else []
    return layout


def _log_ticks(values: list[float], percent: bool = False) -> dict[str, Any]:
    scale = scale_of(values, 0, 1, is_log=True)
    names = [tick_name(tick, percent=percent) for tick in scale.ticks]
    return {"tickmode": "array", "tickvals": list(scale.ticks), "ticktext": names}


def _values_beside(chart: ChartData) -> list[dict[str, Any]]:
    """The values at the right of a sideways chart, each at the height of its bar (17 pixels apart in a group)."""
    found: dict[str, list[str]] = {}
    for one in chart.series:
        for v in chart.values(one):
            found.setdefault(str(v.x), []).append(chart.told_y(v.y))
    note = {"xref": "paper", "x": 1, "xanchor": "left", "xshift": 8, "showarrow": False, "font": {"color": INK}}
    return [
        note | {"y": plain(name), "text": words, "yshift": 17 * ((len(group) - 1) / 2 - i)}
        for name, group in found.items()
        for i, words in enumerate(group)
    ]


def _colour(place: int | None) -> str:
    return MUTED[0] if place is None else LIGHT[place]
