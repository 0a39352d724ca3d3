"""`luthier eval`: how good a run or a base model is, with intervals, against what it must beat."""

from __future__ import annotations

import argparse
from typing import Any

from luthier.cli import output
from luthier.cli.parser import add_columns, add_common, columns_of, one_or_many
from luthier.cli.progress import progress
from luthier.cli.tables import all_metrics, before_after, verdict

SUMMARY = "Judge a run or a base model: metrics with intervals, against the base."
USAGE = "luthier eval RUN_OR_MODEL --data D [--task T] [--train FILE] [--columns ROLE=COLUMN] [--json]"
EXAMPLE = """\
example:
  luthier eval runs/20260102-101500-train --data test.csv
  luthier eval minilm --data test.csv --train train.csv --json

A base model has no head for your labels: with --train, a linear head is fitted on its frozen features.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.add_argument("model", metavar="RUN_OR_MODEL", help="a run folder, or a base model's name or folder")
    parser.add_argument("--data", action="append", required=True, metavar="D", help="labelled rows to judge on")
    parser.add_argument("--task", metavar="T", help="classify, regress or extract (the run's)")
    parser.add_argument("--train", metavar="FILE", help="rows for a base model's linear head and the baselines")
    add_columns(parser)
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate and report."""
    from luthier import api

    options: dict[str, Any] = {"task": args.task, "columns": columns_of(args.columns)}
    if args.train is not None:
        options["train"] = args.train
    with progress(quiet=args.quiet) as listener:
        result = api.evaluate(args.model, one_or_many(args.data), listener=listener, **options).to_dict()
    if args.json:
        output.print_json(result)
        return 0
    console = output.stdout_console()
    if result.get("baselines"):
        console.print(before_after(result))
        console.print()
    console.print(all_metrics(result["metrics"]))
    console.print(f"{result['rows']} rows")
    sentence = verdict(result)
    if sentence:
        console.print(sentence)
    return 0
