"""`luthier runs`: what was trained, one run in full, or several side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.cli import output
from luthier.cli.parser import Formatter, Parser, add_common
from luthier.core.errors import UsageError

if TYPE_CHECKING:
    from luthier.core.rundir import RunDir

SUMMARY = "List runs, show one, or compare several."
USAGE = "luthier runs [show RUN | compare A B ...] [--out DIR] [--json]"
EXAMPLE = """\
example:
  luthier runs
  luthier runs show runs/20260102-101500-train
  luthier runs compare runs/20260102-101500-train runs/20260102-113000-train
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.add_argument("--out", default="runs", metavar="DIR", help="where the runs are (runs)")
    add_common(parser)
    actions = parser.add_subparsers(dest="action", metavar="", parser_class=Parser)
    show = actions.add_parser(
        "show",
        usage="luthier runs show RUN [--json]",
        help="one run in full",
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    show.add_argument("run", metavar="RUN", help="a run's folder, or its name in DIR")
    compare = actions.add_parser(
        "compare",
        usage="luthier runs compare A B ... [--json]",
        help="several runs side by side",
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    compare.add_argument("runs", nargs="+", metavar="RUN", help="two or more runs")
    for nested in (show, compare):
        nested.add_argument("--out", default=argparse.SUPPRESS, metavar="DIR", help="where the runs are (runs)")
        add_common(nested, nested=True)


def run(args: argparse.Namespace) -> int:
    """List, show or compare."""
    from luthier.core import rundir

    if args.action == "show":
        return _show(find(args.run, args.out), as_json=args.json)
    if args.action == "compare":
        if len(args.runs) < 2:
            raise UsageError("comparing needs two runs.", remedy="luthier runs compare A B", code="one_run")
        return _compare([find(name, args.out) for name in args.runs], as_json=args.json)
    rows = [summary(item) for item in rundir.list_runs(args.out)]
    if args.json:
        output.print_json({"runs": rows})
    elif rows:
        _print_table(rows)
    else:
        output.note(f"there are no runs in {args.out} yet. Make one: luthier train --data train.csv")
    return 0


def find(name: str, out: str) -> RunDir:
    """A run by its folder, or by its name in `out`."""
    from luthier.core.rundir import RunDir

    inside = Path(out) / name
    return RunDir.open(inside if not Path(name).exists() and inside.is_dir() else name)


def summary(item: RunDir) -> dict[str, Any]:
    """One run as `luthier runs --json` lists it."""
    from luthier.core.recipe_io import read_yaml

    recipe, report = read_yaml(item.recipe_yaml), item.report() or {}
    method = recipe.get("method")
    cost = report.get("cost") or {}
    return {
        "run": str(item.path),
        "status": item.status,
        "model": recipe.get("model"),
        "task": recipe.get("task"),
        "method": method.get("kind") if isinstance(method, dict) else method,
        "metrics": report.get("metrics") or {},
        "seconds": cost.get("seconds"),
        "trainable_parameters": cost.get("trainable_parameters"),
    }


def _show(item: RunDir, *, as_json: bool) -> int:
    from luthier.core.recipe_io import read_yaml

    row, report = summary(item), item.report() or {}
    if as_json:
        output.print_json({**row, "steps": item.steps(), "recipe": read_yaml(item.recipe_yaml), "report": report})
        return 0
    from luthier.cli.tables import all_metrics, before_after, verdict

    console = output.stdout_console()
    for key in ("run", "status", "model", "task", "method"):
        console.print(f"{key + ':':<9}{row[key]}", soft_wrap=True)
    if report:
        console.print(before_after(report) or "")
        console.print(all_metrics(row["metrics"]))
        console.print(verdict(report))
        console.print(f"report:  {item.report_html}", soft_wrap=True)
    elif item.steps():
        console.print(
            f"it stopped after step {item.steps()[-1]}; go on: luthier train --resume {item.path}",
            soft_wrap=True,
        )
    return 0


def _compare(items: list[RunDir], *, as_json: bool) -> int:
    rows = [summary(item) for item in items]
    tests = {str(((item.report() or {}).get("data") or {}).get("test")) for item in items}
    note = "" if len(tests) == 1 else "These runs were judged on different test rows: do not rank them."
    if as_json:
        output.print_json({"runs": rows, "same_test_rows": len(tests) == 1})
        return 0
    _print_table(rows)
    if note:
        output.stdout_console().print(note)
    return 0


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from luthier.cli.tables import interval, main_metrics

    names = list(dict.fromkeys(name for row in rows for name in main_metrics(row["metrics"])[:2]))
    table = Table(box=None, pad_edge=False)
    for column in ("run", "status", "model", "task", "method", "seconds", *names):
        table.add_column(column, overflow="fold")
    for row in rows:
        seconds = f"{row['seconds']:.0f}" if row["seconds"] is not None else "-"
        table.add_row(
            row["run"],
            row["status"],
            str(row["model"]),
            str(row["task"]),
            str(row["method"]),
            seconds,
            *(interval(row["metrics"].get(name)) for name in names),
        )
    output.stdout_console().print(table)
