"""`luthier eval`: how good a run or a base model is, with intervals, against what it must beat."""

from __future__ import annotations

import argparse
from typing import Any

from luthier.cli import output
from luthier.cli.parser import add_columns, add_common, columns_of, one_or_many
from luthier.cli.progress import progress
from luthier.cli.server_address import add_server, wanted_server
from luthier.cli.tables import all_metrics, before_after, fairness, verdict
from luthier.core.errors import UsageError

SUMMARY = "Judge a run or a base model: metrics with intervals, against the base."
USAGE = """luthier eval RUN_OR_MODEL --data D [--task T] [--train FILE] [--generate-rows N]
                    [--group COLUMN] [--swaps S] [--columns ROLE=COLUMN] [--json]
       luthier eval MODEL --data D --server URL [--key-file F]"""
EXAMPLE = """\
example:
  luthier eval runs/20260102-101500-train --data test.csv
  luthier eval minilm --data test.csv --train train.csv --json
  luthier eval luthier-nano --data conversations.jsonl
  luthier eval runs/20260102-101500-train --data test.csv --group region --group age_band
  luthier eval ft:minilm:local:intents:12345678 --data test.csv --server http://127.0.0.1:8321

A base model has no head for your labels: with --train, a linear head is fitted on its frozen features. A model
that writes needs none: its loss is measured on all rows, and some of them are answered. With --server the model
answers there and is judged here.
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
    parser.add_argument(
        "--group", action="append", metavar="COLUMN", help="whom does it fail: metrics by the groups of this column"
    )
    parser.add_argument(
        "--swaps", metavar="S", help="words to swap in the texts: auto (with --group), none, or a YAML file"
    )
    add_columns(parser)
    add_server(parser, optional=True)
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate and report."""
    if args.generate_rows is not None and args.generate_rows < 0:
        raise UsageError(
            f"--generate-rows is a number from 0 up, not {args.generate_rows}.", remedy="Give 0 or more.",
            param="generate_rows",
        )  # fmt: skip
    if wanted_server(args) is not None:
        from luthier.cli.remote_predict import evaluate_there

        result = evaluate_there(args)
    else:
        result = _evaluate_here(args)
    if args.json:
        output.print_json(result)
        return 0
    _show(result)
    return 0


def _evaluate_here(args: argparse.Namespace) -> dict[str, Any]:
    from luthier import api

    options: dict[str, Any] = {"task": args.task, "columns": columns_of(args.columns)}
    if args.train is not None:
        options["train"] = args.train
    if args.generate_rows is not None:
        options["generate_rows"] = args.generate_rows
    if args.group or args.swaps:
        from luthier.core.recipe import FairnessSpec

        options["fairness"] = FairnessSpec(group=args.group or [], swaps=args.swaps or "auto")
    with progress(quiet=args.quiet) as listener:
        return api.evaluate(args.model, one_or_many(args.data), listener=listener, **options).to_dict()


def _show(result: dict[str, Any]) -> None:
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
    if result.get("fairness"):
        console.print()
        console.print(fairness(result["fairness"]))


def _one_line(text: str) -> str:
    """The beginning of a text, without line breaks or control characters that a model may have written."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    return line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 1] + "…"
