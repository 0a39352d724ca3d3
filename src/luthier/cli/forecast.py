"""`luthier forecast RECIPE.yaml`: time, memory and cost before spending them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from luthier.cli import output
from luthier.cli.parser import add_columns, add_common
from luthier.cli.recipes import recipe_of
from luthier.core.errors import UsageError
from luthier.core.words import plural

if TYPE_CHECKING:
    from rich.table import Table

    from luthier.search.forecast import Forecast

SUMMARY = "Say how long a run will take, how much memory, and what it costs, before it is begun."
USAGE = """luthier forecast [RECIPE.yaml] [--model M] [--data D] [--task T] [--method M] [--set KEY=VALUE]...
                        [--no-probe] [--price-per-hour P] [--watts W] [--price-per-kwh P] [--json]
       luthier forecast --accuracy [--json]"""
EXAMPLE = """\
example:
  luthier forecast recipe.yaml
  luthier forecast --data train.csv --test test.csv --method lora --price-per-hour 0.35
  luthier forecast recipe.yaml --no-probe --watts 65 --price-per-kwh 0.30
  luthier forecast --accuracy

About 20 steps are made with the run's own parts, the longest batch first; nothing of them is kept. --no-probe
answers at once, from shapes and from what earlier runs on this machine took. docs/forecast.md.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.add_argument("recipe", nargs="?", metavar="RECIPE.yaml", help="what would be trained and how")
    parser.add_argument(
        "--model", metavar="M", help="catalogue name, folder or hub id (minilm; luthier-nano for chat and complete)"
    )
    parser.add_argument("--data", action="append", default=[], metavar="D", help="to learn from; may be repeated")
    parser.add_argument("--validation", metavar="SHARE|FILE", help="held back while training (0.1)")
    parser.add_argument("--test", metavar="FILE", help="judges the result")
    parser.add_argument("--task", metavar="T", help="classify, regress, extract, chat or complete")
    parser.add_argument("--method", metavar="M", help="full, lora, adapter, head, bitfit, ia3 or prefix (full)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="any key of the recipe, the value as YAML"
    )
    parser.add_argument("--no-probe", action="store_true", help="no steps: the answer of shapes and earlier runs")
    parser.add_argument("--price-per-hour", type=float, metavar="P", help="what this machine costs")
    parser.add_argument("--watts", type=float, metavar="W", help="what this machine draws, for its energy")
    parser.add_argument("--price-per-kwh", type=float, metavar="P", help="what energy costs")
    parser.add_argument("--prices", metavar="FILE", help="a price table of yours (or LUTHIER_PRICES)")
    parser.add_argument("--accuracy", action="store_true", help="how good earlier forecasts were on this machine")
    add_columns(parser)
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Show the forecast, or how good earlier ones were."""
    if args.accuracy:
        return _accuracy(args)
    args.out = None
    recipe = recipe_of(args)
    if not args.quiet and not args.no_probe:
        output.note("Making about 20 steps to see how fast this machine is.")
    from luthier.forecasting import forecast

    found = forecast(
        recipe, probe=not args.no_probe, price_per_hour=args.price_per_hour, watts=args.watts,
        price_per_kwh=args.price_per_kwh, prices=args.prices,
    )  # fmt: skip
    if args.json:
        output.print_json(found.to_dict())
        return 0
    show(found)
    return 0


def show(found: Forecast) -> None:
    """The tables and the notes."""
    from luthier.search.forecast import plain_time

    work, console = found.workload, output.stdout_console()
    console.print(
        f"{work.task} on {found.model}, {work.method}: {work.train.rows:,} rows, {work.train.tokens:,} tokens, "
        f"{plural(work.epochs, 'epoch')} of {plural(work.steps_per_epoch, 'step')}."
    )
    console.print(_main(found))
    longest = sorted(found.stages.items(), key=lambda item: -item[1])[:4]
    parts = ", ".join(f"{_STAGES.get(name, name)} {plain_time(value).replace(' ', NBSP)}" for name, value in longest)
    console.print(f"Most of the time: {parts}.")
    for note in found.notes:
        console.print(f"note: {note}")
    console.print(_elsewhere(found))
    console.print("Times on a GPU are rough. Platforms tune other models, with the same tokens. Look at the sources.")


NBSP = "\N{NO-BREAK SPACE}"
"""Between a number and its unit, where a line must not end."""
_STAGES = {
    "steps": "training steps", "judging": "judging the result", "setup": "reading the data and the base",
    "gates": "the checks before the first step", "saving": "checkpoints", "base": "judging the untuned base",
    "tfidf": "the baseline on words", "frozen": "the baseline on frozen features", "cache": "the frozen layers",
    "majority": "the most frequent answer", "memorisation": "looking for answers learned by heart",
    "forgetting": "measuring what was forgotten", "samples": "sample answers", "finish": "writing the model",
    "scratch": "the baseline from scratch",
}  # fmt: skip


def _main(found: Forecast) -> Table:
    from rich.table import Table

    from luthier.search.forecast import plain_time

    table = Table(box=None, pad_edge=False)
    for name in ("", "expected", "from", "to"):
        table.add_column(name, justify="left" if not name else "right")
    seconds, memory, cost = found.seconds, found.peak_memory_bytes, found.cost
    table.add_row("time", *(plain_time(value) for value in (seconds.value, seconds.low, seconds.high)))
    table.add_row("peak memory", *(f"{value / 2**30:.2f} GiB" for value in (memory.value, memory.low, memory.high)))
    if cost["energy_kwh"] is not None:
        table.add_row("energy", *(f"{cost['energy_kwh'][name]:.4f} kWh" for name in ("value", "low", "high")))
    if cost["value"] is not None:
        table.add_row("cost", *(f"{cost[name]:.4f} {cost['currency']}" for name in ("value", "low", "high")))
    return table


def _elsewhere(found: Forecast) -> Table:
    from rich.table import Table

    from luthier.search.forecast import plain_time

    table = Table(title="the same training elsewhere", title_justify="left", box=None, pad_edge=False)
    currency = found.cost["currency"]
    for name in ("where", "", "about", f"cost in {currency}", f"price in {currency}", "read on"):
        table.add_column(name, justify="right" if name.startswith(("about", "cost")) else "left")
    for row in found.elsewhere:
        cost = "does not fit" if row["cost"] is None else f"{row['cost']:.4f}"
        time = "" if row["seconds"] is None else plain_time(row["seconds"])
        table.add_row(output.clean(row["provider"]), output.clean(row["name"]), time, cost, row["price"], row["date"])
    return table


def _accuracy(args: argparse.Namespace) -> int:
    given = [name for name in ("recipe", "model", "data", "test", "task", "method", "set") if getattr(args, name)]
    if given:
        raise UsageError(
            f"--accuracy is of all runs, so {given[0]} cannot stand beside it.", remedy="Leave one of them out.",
            code="option_does_not_fit", param="accuracy",
        )  # fmt: skip
    from luthier.search import ledger

    report = ledger.accuracy(ledger.read())
    if args.json:
        output.print_json({**report, "ledger": str(ledger.ledger_file())})
        return 0
    console = output.stdout_console()
    if not report["by_basis"]:
        console.print("No run has ended yet since forecasts are kept, so nothing is known of their accuracy.")
        return 0
    console.print(_record(report))
    console.print(f"{plural(report['runs'], 'run')} in {ledger.ledger_file()}", soft_wrap=True)
    return 0


_BASES = {"probe": "after a probe", "formula": "before the first step", "first_steps": "after the run's first 20 steps"}


def _record(report: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table(title="forecasts and what it was", title_justify="left", box=None, pad_edge=False)
    for name in ("forecast", "of", "runs", "median error", "within the interval"):
        table.add_column(name, justify="left" if name in ("forecast", "of") else "right")
    for basis, cells in report["by_basis"].items():
        for key, cell in cells.items():
            of = "time" if key == "seconds" else "memory"
            table.add_row(
                _BASES[basis], of, str(cell["runs"]), f"{cell['median_error']:.1%}", f"{cell['within']:.0%}"
            )
    return table
