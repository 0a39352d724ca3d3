"""`luthier eval`: how good a run or a base model is, with intervals, against what it must beat."""

from __future__ import annotations

import argparse
from typing import Any

from luthier.cli import output
from luthier.cli.parser import add_columns, add_common, columns_of, one_or_many
from luthier.cli.progress import progress
from luthier.cli.tables import all_metrics, before_after, verdict
from luthier.core.errors import UsageError

SUMMARY = "Judge a run or a base model: metrics with intervals, against the base."
USAGE = """luthier eval RUN_OR_MODEL --data D [--task T] [--train FILE] [--generate-rows N]
                    [--columns ROLE=COLUMN] [--json]"""
EXAMPLE = """\
example:
  luthier eval runs/20260102-101500-train --data test.csv
  luthier eval minilm --data test.csv --train train.csv --json
  luthier eval luthier-nano --data conversations.jsonl

A base model has no head for your labels: with --train, a linear head is fitted on its frozen features. A model
that writes needs none: its loss is measured on all rows, and some of them are answered.
"""


EXAMPLES_SHOWN = 3
_LONGEST_LINE = 160


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.add_argument("model", metavar="RUN_OR_MODEL", help="a run folder, or a base model's name or folder")
    parser.add_argument("--data", action="append", required=True, metavar="D", help="labelled rows to judge on")
    parser.add_argument("--task", metavar="T", help="classify, regress, extract, chat or complete (the run's)")
    parser.add_argument("--train", metavar="FILE", help="rows for a base model's linear head and the baselines")
    parser.add_argument(
        "--generate-rows", type=int, metavar="N", help="rows that a model that writes answers (100, or the recipe's)"
    )
    add_columns(parser)
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate and report."""
    from luthier import api

    options: dict[str, Any] = {"task": args.task, "columns": columns_of(args.columns)}
    if args.train is not None:
        options["train"] = args.train
    if args.generate_rows is not None:
        if args.generate_rows < 0:
            raise UsageError(
                f"--generate-rows is a number from 0 up, not {args.generate_rows}.", remedy="Give 0 or more.",
                param="generate_rows",
            )  # fmt: skip
        options["generate_rows"] = args.generate_rows
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
    answered = f", {result['answered']} of them answered" if "answered" in result else ""
    console.print(f"{result['rows']} rows{answered}")
    for note in result.get("notes") or ():
        console.print(note, markup=False)
    for example in (result.get("examples") or [])[:EXAMPLES_SHOWN]:
        for name, key in (("asked", "text"), ("expected", "expected"), ("answered", "predicted")):
            console.print(f"{name:>9}  {_one_line(example[key])}", markup=False, highlight=False)
        console.print()
    sentence = verdict(result)
    if sentence:
        console.print(sentence)
    return 0


def _one_line(text: str) -> str:
    """The beginning of a text, without line breaks or control characters that a model may have written."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    return line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 1] + "…"
