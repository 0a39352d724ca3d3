"""What a classifier confuses: a table of counts for few classes, a shaded square for many.

Everything that came from outside is escaped; colours are classes of the page's style.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

MOST_NAMED = 20  # classes whose names and counts can still be read


def confusion(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    """Rows = expected, columns = predicted, shade = share of the row; right answers in another colour."""
    return _table(labels, matrix) if len(labels) <= MOST_NAMED else _square(labels, matrix)


def _table(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    upright = len(labels) > 4 or max(map(len, labels), default=0) > 12
    head = "".join(
        f'<th scope="col"><div{" class=upright" if upright else ""}>{escape(label)}</div></th>' for label in labels
    )
    rows = []
    for i, counts in enumerate(matrix):
        total = sum(counts)
        cells = []
        for j, count in enumerate(counts):
            if not count:
                cells.append('<td><span class="muted">0</span></td>')
                continue
            # at most 45 % of the colour: the number keeps its contrast
            strength = f"{8 + 37 * count / total:.0f}%"
            tip = f"{labels[i]} answered as {labels[j]}: {count} of {total}"
            kind = "right" if i == j else "wrong"
            cells.append(f'<td class="{kind}" style="--share: {strength}" title="{escape(tip)}">{count}</td>')
        rows.append(f'<tr><th scope="row">{escape(labels[i])}</th>{"".join(cells)}</tr>')
    return (
        f'<table class="matrix"><caption>Confusion matrix of {len(labels)} classes: expected down, answered across'
        f'</caption><thead><tr><th scope="col"><span class="unseen">Expected</span></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _square(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    """The shades alone; names and counts are tips, and the most confused pairs stand beside it as a table."""
    cell = max(2.0, 520.0 / len(labels))
    side = cell * len(labels)
    ink = 'style="fill:var(--muted,#566270);font-size:12px"'
    body = [
        f'<rect x="20" y="20" width="{side:.1f}" height="{side:.1f}" style="fill:var(--panel,#f6f7f9)"/>',
        f'<text x="20" y="13" {ink}>predicted →</text>',
        f'<g transform="translate(13 {20 + side:.1f}) rotate(-90)"><text {ink}>expected, from top to bottom</text></g>',
    ]
    for i, counts in enumerate(matrix):
        total = sum(counts)
        for j, count in enumerate(counts):
            if count:
                faintest = 0.12 if i == j else 0.4  # small cells must still be seen
                fill = "var(--ours,#1b5eaf)" if i == j else "var(--wrong,#b4472f)"
                tip = f"{labels[i]} answered as {labels[j]}: {count} of {total}"
                body.append(
                    f'<rect x="{20 + cell * j:.1f}" y="{20 + cell * i:.1f}" width="{cell:.1f}" height="{cell:.1f}" '
                    f'style="fill:{fill};fill-opacity:{faintest + (0.95 - faintest) * count / total:.2f}">'
                    f"<title>{escape(tip)}</title></rect>"
                )
    right = sum(matrix[i][i] for i in range(len(labels)))
    every = sum(map(sum, matrix))
    told = f"Confusion matrix of {len(labels)} classes: {right} of {every} rows are on the diagonal, which is right"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side + 26:.0f} {side + 26:.0f}" role="img" '
        f'class="heatmap" aria-label="{told}"><title>{told}</title>{"".join(body)}</svg>'
    )
