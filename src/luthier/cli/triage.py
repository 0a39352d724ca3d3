"""`luthier triage DATA`: likely wrong labels, for a person to decide."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from luthier.cli import output
from luthier.cli.parser import add_columns, add_common, columns_of, one_or_many
from luthier.cli.progress import progress
from luthier.core.errors import UsageError

if TYPE_CHECKING:
    from luthier.label_triage import Triage

SUMMARY = "Find labels that are likely wrong, and write the data again as you decide."
USAGE = """luthier triage DATA [--task T] [--model M] [--columns ROLE=COLUMN] [--out review.csv] [--json]
       luthier triage DATA --apply review.csv --out CLEANED"""
EXAMPLE = """\
example:
  luthier triage train.csv --out review.csv
  luthier triage train.csv --apply review.csv --out cleaned.csv

In the column `decision` of the review write keep, drop or the right label (label:NAME for a new one); what stays
empty is kept. The original is never changed. docs/data_quality.md walks through it.
"""
_SHOWN = 10
_TEXT = 60


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.add_argument("data", nargs="+", metavar="DATA", help="file, folder, glob or URL; several are one set")
    parser.add_argument("--task", default="auto", metavar="T", help="classify or regress; found from the data")
    parser.add_argument(
        "--model", default="minilm", metavar="M", help="whose frozen features judge a row (minilm); tfidf: word counts"
    )
    parser.add_argument("--apply", metavar="REVIEW", help="write the data again as this review decides")
    parser.add_argument("--out", metavar="FILE", help="the review (review.csv), or with --apply the new data")
    add_columns(parser)
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Write the review, or the data as it was decided."""
    if args.apply is not None and args.out is None:
        raise UsageError(
            "--apply writes new data and needs a place for it.", remedy="Add --out FILE.", code="no_input", param="out"
        )
    from luthier import label_triage

    known: dict[str, Any] = {"task": args.task, "columns": columns_of(args.columns)}
    data = one_or_many(args.data)
    if args.apply is not None:
        counts = label_triage.apply_review(data, args.apply, args.out, **known)
        if args.json:
            output.print_json(counts)
            return 0
        output.stdout_console().print(
            f"{counts['relabelled']:,} rows have another label, {counts['dropped']:,} are dropped, {counts['kept']:,} "
            f"kept, {counts['open']:,} of the review left open (kept); {counts['rows']:,} rows written."
        )
        print(counts["out"], flush=True)
        return 0
    with progress(quiet=args.quiet) as listener:
        found = label_triage.triage(
            data, out=args.out or "review.csv", model=args.model, listener=listener, **known
        )  # fmt: skip
    if args.json:
        output.print_json(found.to_dict())
        return 0
    _show(found)
    print(found.path, flush=True)
    return 0


def _show(found: Triage) -> None:
    from rich.table import Table

    from luthier.data.review import told

    console = output.stdout_console()
    table = Table(title="the surest first", title_justify="left", box=None, pad_edge=False)
    for name in ("line", "text", "given", "suggested", "sure"):
        table.add_column(name, justify="right" if name in ("line", "sure") else "left")
    for item in found.items[:_SHOWN]:
        cells = (output.clean(text, _TEXT) for text in (item.text, told(item.given), told(item.suggested)))
        table.add_row(str(item.line), *cells, f"{item.confidence:.2f}")
    if found.items:
        console.print(table)
    counts = found.counts
    console.print(
        f"{len(found.items):,} of {found.rows:,} rows are doubtful: {counts.get('unlikely_label', 0):,} unlikely "
        f"labels (judged by {found.features}), {counts.get('contradiction', 0):,} of one text with different answers, "
        f"{counts.get('near_contradiction', 0):,} of nearly one text."
    )
    for note in found.notes:
        console.print(f"note: {note}")
    if found.items:
        console.print("Decide in the column `decision`, then: luthier triage DATA --apply REVIEW --out NEW")
