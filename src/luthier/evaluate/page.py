"""One page for people: the verdict first, then sections; self-contained, for screen, print and screen readers.

Everything that Luthier writes as a page looks the same, because it comes from here::

    from luthier.evaluate.charts import Chart, Series
    from luthier.evaluate.page import render, table

    chart = Chart("Accuracy by rows", "training rows", "accuracy", [Series("full", [100, 200], [0.8, 0.9])])
    page = render(
        "Would more rows help?",
        "Yes: twice the rows would bring about 2 points.",
        [("The curve", chart.html("curve")), ("Every size", table("Sizes", ["Rows", "Accuracy"], [["100", "0.8"]]))],
    )

A section's HTML is taken as it is: whatever came from outside must have been escaped by then, as `Chart.html` and
`table` do, and Jinja2 with `environment()`. Headings inside a section begin at ``<h3>``. Classes that the style knows:
``note``, ``muted``, ``two`` (side by side where there is room), ``scroll`` (around what may be wide; with
``tabindex="0" role="group" aria-label="..."``), ``n`` (cells of numbers), ``words``, ``warning``, and
``tag better``, ``tag worse``, ``tag tie``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import TYPE_CHECKING

from luthier.evaluate.charts import chart_css, page_script

if TYPE_CHECKING:
    from jinja2 import Environment

Section = tuple[str, str]


def render(
    title: str,
    verdict: str,
    sections: Sequence[Section],
    *,
    kicker: str = "",
    footer: str = "",
    interactive: bool = True,
) -> str:
    """The page.

    Args:
        title, verdict, kicker, footer: text; it is escaped. The kicker is a small line above the title.
        sections: (heading as text, body as HTML) in order; an empty body leaves its section out.
        interactive: False leaves Plotly's script (1.9 MB) out where it is installed.
    """
    from markupsafe import Markup

    named: list[tuple[str, str, Markup]] = []
    for heading, body in sections:
        if body.strip():
            named.append((_identity(heading, [identity for identity, _, _ in named]), heading, Markup(body)))
    has_figures = any('class="figure-data"' in body for _, _, body in named)
    script = page_script() if interactive and has_figures else ""
    page: str = (
        environment()
        .get_template("page.html")
        .render(
            title=title,
            verdict=unbroken(verdict),
            sections=named,
            kicker=kicker,
            footer=footer,
            css=Markup(report_css()),
            script=Markup(script),
            script_megabytes=f"{len(script) / 1e6:.1f}",
        )
    )
    return page


def environment() -> Environment:
    """Jinja2 over the templates of this room; escapes everything, and an unknown name is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("luthier.evaluate", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def report_css() -> str:
    """The style of pages and their charts."""
    page = resources.files("luthier.evaluate").joinpath("templates/page.css").read_text(encoding="utf-8")
    return page + chart_css()


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Texts as a table; the first cell of a row names it. Columns of numbers stand at the right."""
    is_number = [
        bool(rows) and all(re.fullmatch(r"[-–]?[\d.,]*( ?%| s| ms)?", row[i]) for row in rows)  # noqa: RUF001
        for i in range(len(columns))
    ]
    style = [' class="n"' if number else ' class="words"' for number in is_number]
    head = "".join(
        f'<th scope="col"{style[i] if is_number[i] else ""}>{escape(name)}</th>' for i, name in enumerate(columns)
    )
    body = ""
    for row in rows:
        first = f'<th scope="row"{style[0]}>{escape(row[0])}</th>'
        rest = "".join(f"<td{style[i]}>{escape(cell)}</td>" for i, cell in enumerate(row[1:], start=1))
        body += f"<tr>{first}{rest}</tr>"
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def unbroken(sentence: str) -> str:
    """A percent sign stays with its number at the end of a line."""
    return sentence.replace(" %", "\u00a0%")


def _identity(heading: str, taken: Sequence[str]) -> str:
    """The section's anchor: "section-what-it-confuses"."""
    plain = f"section-{re.sub(r'[^a-z0-9]+', '-', heading.lower()).strip('-')}"
    return plain if plain not in taken else f"{plain}-{len(taken) + 1}"
