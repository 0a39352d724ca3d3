"""Inline SVG pictures of what a classifier confuses and of how far its scores can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from luthier.evaluate.pictures import line, rectangle, shortened, svg, text

MOST_NAMED = 20  # classes whose names and counts can still be read in a matrix


def confusion_heatmap(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    """Rows = expected, columns = predicted, shade = share of the row; right answers in another colour.

    Up to 20 classes with names and counts; above that only the shades, with the counts as tooltips.
    """
    named = len(labels) <= MOST_NAMED
    cell = (
        (56.0 if len(labels) <= 5 else 40.0 if len(labels) <= 10 else 28.0) if named else max(2.0, 520.0 / len(labels))
    )
    longest = min(22, max((len(label) for label in labels), default=0))
    left = 30 + 6.8 * longest if named else 24.0
    top = (30 + 4.9 * longest if len(labels) > 3 or longest > 7 else 38.0) if named else 22.0
    side = cell * len(labels)
    lean = 4.9 * longest if named else 0.0  # the last column's slanted name
    width, height = left + side + 6 + lean, top + side + 6
    body = [rectangle(left, top, side, side, "field")]
    for i, row in enumerate(matrix):
        total = sum(row)
        if named:
            body.append(text(left - 7, top + cell * (i + 0.5) + 4, shortened(labels[i], 22), "end", "small"))
            x = left + cell * (i + 0.5)
            if len(labels) <= 3 and longest <= 7:
                body.append(text(x, top - 8, labels[i], "middle", "small"))
            else:
                body.append(
                    f'<g transform="translate({x - 2:.1f} {top - 7:.1f}) rotate(-45)">'
                    + text(0, 0, shortened(labels[i], 22), style="small")
                    + "</g>"
                )
        for j, count in enumerate(row):
            if count:
                share = count / total
                faintest = 0.12 if i == j else 0.18 if named else 0.4  # small cells must still be seen
                x, y = left + cell * j, top + cell * i
                body.append(
                    rectangle(
                        x,
                        y,
                        cell,
                        cell,
                        "fill right" if i == j else "fill wrong",
                        opacity=faintest + (0.95 - faintest) * share,
                        title=f"{labels[i]} answered as {labels[j]}: {count} of {total}",
                    )
                )
                if named:
                    body.append(
                        text(
                            x + cell / 2,
                            y + cell / 2 + 4,
                            str(count),
                            "middle",
                            "count on-dark" if share > 0.5 else "count",
                        )
                    )
    body.append(text(left, 13, "predicted →", style="small faint"))
    body.append(
        f'<g transform="translate(13 {top + side:.1f}) rotate(-90)">'
        + text(0, 0, "← expected" if side < 90 else "expected, from top to bottom", style="small faint")
        + "</g>"
    )
    return svg(
        width, height, f"Confusion matrix of {len(labels)} classes", body, smallest=width * 0.8 if named else 0.0
    )


def reliability_diagram(bins: Sequence[Mapping[str, Any]]) -> str:
    """Share of right answers over confidence, the diagonal being perfect; below, where the rows lie."""
    width, left, top, side, strip = 400.0, 58.0, 10.0, 280.0, 46.0
    floor = top + side
    body = [rectangle(left, top, side, side, "field")]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y, x = floor - tick * side, left + tick * side
        body += [
            line(left, y, left + side, y, "grid"),
            text(left - 7, y + 4, f"{tick:g}", "end", "small"),
            text(x, floor + strip + 26, f"{tick:g}", "middle", "small"),
        ]
    most = max((item["rows"] for item in bins), default=1)
    for item in bins:
        x, wide = left + item["low"] * side, (item["high"] - item["low"]) * side - 1.5
        tip = (
            f"{item['rows']} rows with confidence {item['low']:.2f} to {item['high']:.2f}: mean "
            f"{item['confidence']:.3f}, right {item['accuracy']:.3f}"
        )
        tall = strip * item["rows"] / most
        body += [
            rectangle(
                x, floor - item["accuracy"] * side, wide, item["accuracy"] * side, "fill ours", opacity=0.75, title=tip
            ),
            rectangle(x, floor + 8 + strip - tall, wide, tall, "fill other", title=tip),
        ]
    body += [
        line(left, floor, left + side, top, "diagonal"),
        text(left + side, floor + strip + 42, "confidence (below: number of rows)", "end", "small"),
        f'<g transform="translate(13 {floor:.1f}) rotate(-90)">' + text(0, 0, "share right", style="small") + "</g>",
    ]
    return svg(width, floor + strip + 48, "Reliability diagram", body, smallest=0.0)
