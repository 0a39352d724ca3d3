"""Charts of reports: a picture that needs no script, the values as a table, and the data for an interactive one.

    chart = Chart("Accuracy by rows", "training rows", "accuracy", [Series("full", [100, 200], [0.8, 0.9])])
    body = chart.html("rows")                    # once for each chart; identities differ within a page
    page = f"<style>{chart_css()}</style>{body}{page_script()}"

With the extra ``report`` (Plotly's wheel, for its JavaScript) `page_script` makes the charts interactive on screen;
without it, without JavaScript and in print the pictures stay, and nothing is lost but pointing and zooming.
"""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib import resources
from importlib.util import find_spec
from typing import Any

from luthier.evaluate import chart_figure, chart_svg
from luthier.evaluate.chart_data import DARK, LIGHT, MUTED, ChartData, Series, told

__all__ = ["Chart", "Series", "chart_css", "page_script"]

_INTERACTIVE_BYTES = 400_000  # a larger figure, as JSON, would make the page heavier than it is worth


@dataclass(frozen=True)
class Chart(ChartData):
    """Series over one pair of axes, as a picture, a figure and a piece of a page."""

    def svg(self) -> str:
        """The picture, well-formed XML. Its colours are CSS custom properties with those of a light page behind."""
        return chart_svg.draw(self)

    def figure(self) -> dict[str, Any]:
        """The Plotly figure: ``plotly.graph_objects.Figure(chart.figure())`` where Plotly is installed."""
        return chart_figure.figure(self)

    def html(self, identity: str) -> str:
        """The chart as a ``<figure>``; `identity` is its id in the page."""
        figure = json.dumps(self.figure(), allow_nan=False, separators=(",", ":"))
        data = f'<script type="application/json" class="figure-data">{inert(figure)}</script>'
        is_drawn = len(data) <= _INTERACTIVE_BYTES and any(self.values(one) for one in self.series)
        note = f'<p class="note">{escape(self.note)}</p>' if self.note else ""
        title = escape(self.title)
        return (
            f'<figure class="chart" id="{escape(identity)}"><figcaption>{title}</figcaption>'
            f'<div class="still scroll" role="group" tabindex="0" aria-label="{title}">{self.svg()}</div>'
            f'<div class="live" role="img" aria-label="{title}. {escape(self.description())}"></div>{note}'
            f'<details class="values"><summary>Values<span class="unseen"> of {title}</span></summary>{self.table()}'
            f"</details>{data if is_drawn else ''}</figure>"
        )

    def table(self) -> str:
        """Every value, one row each."""
        with_interval = any(one.low is not None for one in self.series)
        with_text = any(one.text is not None for one in self.series)
        several = len(self.series) > 1
        names = ["Series"] if several else []
        names += [self.x_title or "Name", self.y_title or "Value"]
        names += ["from", "to"] if with_interval else []
        names += ["Note"] if with_text else []
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
        rows = []
        for one in self.series:
            for i, (x, y) in enumerate(zip(one.x, one.y, strict=True)):
                cells = [one.name] if several else []
                cells += [told(x), self._exact(y)]
                if with_interval:
                    cells += ["" if ends is None else self._exact(ends[i]) for ends in (one.low, one.high)]
                if with_text:
                    cells.append("" if one.text is None else one.text[i])
                row = f'<th scope="row">{escape(cells[0])}</th>'
                rows.append(f"<tr>{row}{''.join(f'<td>{escape(cell)}</td>' for cell in cells[1:])}</tr>")
        return (
            f'<div class="scroll" role="group" tabindex="0" aria-label="Values"><table><caption class="unseen">'
            f"{escape(self.title)}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        )

    def _exact(self, value: float | None) -> str:
        """A value of the table, with a digit more than the picture tells."""
        if value is None or value != value:
            return self.told_y(None)
        return f"{100 * value:.2f} %" if self.percent_y else f"{value:.6g}"


def chart_css() -> str:
    """The style of charts; colours of the series for light, dark and print."""
    light = _properties((*LIGHT, MUTED[0]))
    dark = _properties((*DARK, MUTED[1]))
    return (
        f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
        f"@media print {{ :root {{ {light} }} }}\n{_text_of('charts.css')}"
    )


def page_script() -> str:
    """The script of a page with charts, to be written once, at its end; "" where Plotly is not installed.

    Plotly's script is about 4.8 MB; it is written compressed (about 1.9 MB) and unpacked by the browser, which asks
    nobody for anything.
    """
    packed = _plotly()
    if not packed:
        return ""
    palette = {f"--series-{i}": colour for i, colour in enumerate(LIGHT)} | {"--muted-series": MUTED[0]}
    script = _text_of("charts.js").replace("/* colours */ {}", json.dumps(palette))
    return f'<script type="application/gzip" id="plotly-packed">{packed}</script>\n<script>\n{script}</script>'


def inert(text: str) -> str:
    """JSON that can stand in a script element: no tag or comment can begin or end in it."""
    for letter in ("<", ">", "&", "\u2028", "\u2029"):
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _properties(colours: tuple[str, ...]) -> str:
    named = [f"--series-{i}: {colour};" for i, colour in enumerate(colours[:-1])]
    return " ".join([*named, f"--muted-series: {colours[-1]};"])


@cache
def _plotly() -> str:
    """Plotly's JavaScript from its wheel, by gzip and base64; "" where the wheel is not installed."""
    if find_spec("plotly") is None:
        return ""
    script = resources.files("plotly").joinpath("package_data/plotly.min.js").read_bytes()
    return base64.b64encode(gzip.compress(script, 9, mtime=0)).decode("ascii")


@cache
def _text_of(name: str) -> str:
    return resources.files("luthier.evaluate").joinpath(f"templates/{name}").read_text(encoding="utf-8")
