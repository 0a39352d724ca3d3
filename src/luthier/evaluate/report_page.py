"""The report of a run as one self-contained page: the verdict, what it must beat, and everything behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.evaluate import page
from luthier.evaluate.page import unbroken
from luthier.evaluate.report_sections import SECTIONS, writes
from luthier.evaluate.report_words import answer_text, baseline_name, facts, heading, number

__all__ = ["baseline_name", "facts", "number", "render_page"]

_FOOTER = (
    "Intervals are 95 % bootstrap percentile intervals over the {rows} rows: they hold the uncertainty of these rows, "
    "not that of another training run."
)


def render_page(report: Mapping[str, Any]) -> str:
    """The page of a report.json value (as built, or read back from the file)."""
    environment = page.environment()
    environment.filters |= {"number": number, "answer": answer_text, "unbroken": unbroken, "heading": heading}
    known = set(environment.list_templates())
    sections = []
    for section in SECTIONS:
        context = section.context(report)
        if context is not None:
            name = f"sections/{section.name}.html"
            template = environment.get_template(name if name in known else "sections/facts.html")
            sections.append((section.title(report), template.render(report=report, writes=writes(report), **context)))
    return page.render(
        f"{report['model']} · {report['task']} · {report['method']}",
        report["verdict"],
        sections,
        kicker=" · ".join(part for part in ("Luthier report", report.get("created_at")) if part),
        footer=_FOOTER.format(rows=report["evaluated_on"]),
    )
