"""`luthier check DATA`: every problem of the data before time is spent on training."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.cli import output
from luthier.cli.parser import add_columns, add_common, columns_of, one_or_many
from luthier.core.errors import DataError
from luthier.data.samples import Finding

if TYPE_CHECKING:
    from luthier.data.checks.report import CheckReport

SUMMARY = "Read the data, find every problem, and show what the model will see."
USAGE = "luthier check DATA [--task T] [--test FILE] [--columns ROLE=COLUMN] [--json]"
EXAMPLE = """\
example:
  luthier check train.csv --test test.csv
  luthier check reviews.tsv --columns text=review,label=stars --json
  luthier check chats.jsonl --like openai

Exit code 0: the data can be trained on (there may be warnings). 1: it cannot.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.add_argument("data", nargs="+", metavar="DATA", help="file, folder, glob or URL; several are one set")
    parser.add_argument(
        "--task",
        default="auto",
        metavar="T",
        help="classify, regress, extract, chat or complete; found from the data when it is plain",
    )
    parser.add_argument("--validation", metavar="FILE", help="validation data, checked for leaks")
    parser.add_argument("--test", metavar="FILE", help="test data, checked for leaks")
    parser.add_argument(
        "--group",
        action="append",
        default=[],
        metavar="COLUMN",
        help="a column of groups: which are rare, which labels go with which, which are on both sides of a split",
    )
    parser.add_argument(
        "--model", metavar="M", help="whose tokens are counted (minilm; luthier-nano for chat and complete)"
    )
    parser.add_argument("--max-length", type=int, metavar="N", help="tokens per text (from the data)")
    parser.add_argument(
        "--findings",
        metavar="FILE",
        default="luthier-findings.jsonl",
        help="where findings beyond the first 100 go (luthier-findings.jsonl)",
    )
    parser.add_argument("--like", metavar="NAME", help="whose rules the data must keep too: openai")
    add_columns(parser)
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Check and report."""
    try:
        report = _report(args)
    except DataError as error:
        if not args.json:
            raise
        output.print_json(_unreadable(error, args.task))
        return 1
    if args.json:
        output.print_json(report.to_dict())
    else:
        from luthier.data.checks.render import render

        console = output.stdout_console()
        for part in render(report):
            console.print(part)
    return 0 if report.ok else 1


def _report(args: argparse.Namespace) -> CheckReport:
    from luthier import api

    return api.check(
        one_or_many(args.data),
        task=args.task,
        columns=columns_of(args.columns),
        group=args.group[0] if len(args.group) == 1 else None,
        groups=args.group,
        validation=args.validation,
        test=args.test,
        model=args.model,
        like=args.like,
        max_length=args.max_length,
        findings_file=Path(args.findings),
    )


def _unreadable(error: DataError, task: str) -> dict[str, Any]:
    """Data that cannot be read at all, in the shape of a report with that one finding."""
    source, _, line = error.where.rpartition(":")
    if not line.isdecimal():
        source, line = error.where, "0"
    finding = Finding(error.code, "error", error.message, error.remedy, int(line), source)
    return {"ok": False, "task": task, "rows": 0, "findings": [finding.to_dict()], "stats": {}}
