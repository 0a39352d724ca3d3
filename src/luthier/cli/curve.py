"""`luthier curve DATA`: would more rows help? Starts small and increases."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from luthier.cli import output
from luthier.cli.budget import seconds_of
from luthier.cli.parser import add_columns, add_common
from luthier.cli.progress import progress
from luthier.cli.recipes import recipe_of

if TYPE_CHECKING:
    from rich.table import Table

SUMMARY = "Train on growing shares of the rows, and say what twice as many would bring."
USAGE = """luthier curve DATA [--task T] [--model M] [--method M] [--test FILE] [--set KEY=VALUE]...
                     [--budget 10m] [--seeds N] [--worth GAIN] [--full] [--out DIR] [--json]"""
EXAMPLE = """\
example:
  luthier curve train.csv --test test.csv --method head --budget 10m
  luthier curve chats.jsonl --task chat --method lora --out curves/chats

Every point is a run in DIR/runs. Stopped in the middle, the same command with the same --out goes on.
The smallest sizes come first; when the answer is plain before the last one, the rest is not trained (--full
trains all). docs/data_quality.md explains the answer.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.add_argument("data", nargs="+", metavar="DATA", help="file, folder, glob or URL; several are one set")
    parser.add_argument(
        "--model", metavar="M", help="catalogue name, folder or hub id (minilm; luthier-nano for chat and complete)"
    )
    parser.add_argument("--task", metavar="T", help="classify, regress, extract, chat or complete")
    parser.add_argument("--method", metavar="M", help="full, lora, adapter, head, bitfit, ia3 or prefix (full)")
    parser.add_argument("--validation", metavar="SHARE|FILE", help="held back while training (0.1)")
    parser.add_argument("--test", metavar="FILE", help="judges every size; else the validation rows do")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="any key of the recipe, the value as YAML"
    )
    parser.add_argument("--budget", metavar="TIME", help="begin no run that would end later: 90s, 10m, 2h")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="most runs per size (3)")
    parser.add_argument(
        "--worth", type=float, metavar="GAIN", help="the smallest gain that counts (0.01; of a loss 2 %% of its value)"
    )
    parser.add_argument("--full", action="store_true", help="train all sizes even when the answer is plain before")
    parser.add_argument("--out", metavar="DIR", help="the curve's folder (curves/TIME-DATA)")
    add_columns(parser)
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Train the sizes, show the table and the answer, print the folder."""
    budget = None if args.budget is None else seconds_of(args.budget)
    out, args.out, args.recipe = args.out, None, None
    recipe = recipe_of(args)
    from luthier import learning_curve

    with progress(quiet=args.quiet) as listener:
        found = learning_curve.curve(
            recipe, out=out, budget_seconds=budget, seeds=args.seeds, worth=args.worth, full=args.full,
            listener=listener,
        )  # fmt: skip
    if args.json:
        output.print_json({**found.report, "folder": str(found.path)})
        return 0
    console = output.stdout_console()
    console.print(_table(found.report))
    console.print(found.sentence)
    if found.report["reason"] not in found.sentence:
        console.print(found.report["reason"])
    if found.report["stopped"]:
        console.print(found.report["stopped"]["text"])
    for note in found.report["notes"]:
        console.print(f"note: {note}")
    console.print(f"report: {found.path / 'curve.html'}", soft_wrap=True)
    print(found.path, flush=True)
    return 0


def _table(report: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table(
        title=f"{report['metric_title']} on the same {report['held_out_rows']:,} held-out rows (95 % interval)",
        title_justify="left", box=None, pad_edge=False,
    )  # fmt: skip
    for name in ("training rows", "share", "runs", report["metric_title"].lower(), "interval", "time"):
        table.add_column(name, justify="left" if name == "interval" else "right")
    for size in report["sizes"]:
        table.add_row(
            f"{size['rows']:,}", f"{size['share']:.0%}", str(size["seeds"]), _number(size["value"]),
            _interval(size), f"{size['seconds']:.0f} s",
        )  # fmt: skip
    if report["doubled"]:
        table.add_row(
            f"{2 * report['rows']:,}", "200%", "expected", _number(report["doubled"]["value"]),
            _interval(report["doubled"]), "",
        )  # fmt: skip
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _interval(cell: dict[str, Any]) -> str:
    return "" if cell["low"] is None else f"{cell['low']:.4f} to {cell['high']:.4f}"
