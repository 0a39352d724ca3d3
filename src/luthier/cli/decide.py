"""`luthier decide`: prompt, retrieval, assistant and fine-tuning side by side on your data, and a verdict."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from luthier.cli import output
from luthier.cli.budget import seconds_of
from luthier.cli.parser import add_columns, add_common, columns_of, one_or_many
from luthier.cli.progress import progress
from luthier.core.errors import UsageError

SUMMARY = "Prompt, retrieval, assistant and fine-tuning side by side on your data, and a verdict."
USAGE = """luthier decide DATA [--task T] [--test FILE] [--budget 10m] [--knowledge PLACE]...
                       [--endpoint URL --name MODEL] [--arms A,B] [--out DIR] [--json]"""
EXAMPLE = """\
example:
  luthier decide reviews.csv
  luthier decide questions.jsonl --knowledge handbook/ --budget 20m
  OPENAI_API_KEY=... luthier decide tickets.csv --endpoint https://api.example.com/v1 --name MODEL \\
      --price-prompt 0.15 --price-completion 0.60

Every arm is judged on the same held-out rows by the same metric, with intervals; arms that nobody can tell apart are
called a tie. The key of an endpoint is read from the environment. Rows that an endpoint is asked are sent there.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.add_argument("data", nargs="+", metavar="DATA", help="labelled rows: a file, folder, glob or URL")
    parser.add_argument("--task", default="auto", metavar="T", help="classify, regress, extract, chat or complete")
    parser.add_argument("--test", metavar="FILE", help="rows to judge on (a quarter of the data)")
    parser.add_argument("--model", metavar="M", help="base that is tuned (minilm, or luthier-nano for texts)")
    parser.add_argument("--budget", default="10m", metavar="TIME", help="for everything: 90s, 10m or 1h (10m)")
    parser.add_argument("--arms", metavar="A,B", help="names or families of arms; all where it is not given")
    parser.add_argument("--out", default="decisions", metavar="DIR", help="where its folder is made (decisions)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of splits, examples and trainings (0)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of the trainings: --set train.epochs=5"
    )
    add_columns(parser)
    asked = parser.add_argument_group("the model that is asked in words")
    asked.add_argument("--generator", metavar="M", help="a local base (luthier-nano)")
    asked.add_argument("--endpoint", metavar="URL", help="an OpenAI-compatible endpoint, the part before /chat")
    asked.add_argument("--name", metavar="MODEL", help="the endpoint's model")
    asked.add_argument("--key-env", default="OPENAI_API_KEY", metavar="VAR", help="where its key is (OPENAI_API_KEY)")
    asked.add_argument(
        "--knowledge", action="append", default=[], metavar="PLACE", help="file or folder to search in (the rows)"
    )
    asked.add_argument("--assistant", metavar="FILE", help="an assistant's YAML, as an arm of its own")
    prices = parser.add_argument_group("prices, in dollars")
    prices.add_argument("--price-hour", type=float, default=0.10, metavar="X", help="this machine, an hour (0.10)")
    prices.add_argument("--price-prompt", type=float, metavar="X", help="a million tokens that the endpoint reads")
    prices.add_argument("--price-completion", type=float, metavar="X", help="a million tokens that it writes")
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Decide and report."""
    from luthier.approaches.arm import Prices
    from luthier.deciding import decide

    for name in ("price_hour", "price_prompt", "price_completion"):
        value = getattr(args, name)
        if value is not None and not 0 <= value < 1e9:
            raise UsageError(f"a price is a number from 0 up, not {value}.", code="invalid_price", param=name)
    with progress(quiet=args.quiet) as listener:
        decided = decide(
            one_or_many(args.data), task=args.task, columns=columns_of(args.columns), test=args.test, model=args.model,
            generator=args.generator, endpoint=args.endpoint, name=args.name, key_variable=args.key_env,
            knowledge=args.knowledge, budget=seconds_of(args.budget), arms=_names(args.arms),
            prices=Prices(args.price_hour, args.price_prompt, args.price_completion), overrides=args.set,
            seed=args.seed, assistant=args.assistant, out=args.out, listener=listener,
        )  # fmt: skip
    if args.json:
        output.print_json(decided.to_dict())
        return 0
    _show(decided)
    return 0


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def _show(decided: Any) -> None:
    from rich.table import Table

    from luthier.approaches.verdict import money
    from luthier.evaluate.metric_names import metric_name
    from luthier.evaluate.report import told

    console = output.stdout_console()
    table = Table(box=None, pad_edge=False)
    for name, justify in (
        ("arm", "left"), (metric_name(decided.metric).title, "right"), ("95 % interval", "right"), ("build", "right"),
        ("per 1,000", "right"), ("latency", "right"), ("follows changes", "right"),
    ):  # fmt: skip
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    chosen = decided.decision.arm
    for arm in decided.arms:
        if arm.score is None:
            continue
        value = arm.score.interval
        mark = "* " if arm is chosen else "= " if arm.name in decided.decision.ties else "  "
        interval = f"{told(decided.metric, value.low).removesuffix(' %')} to {told(decided.metric, value.high)}"
        partly = f" ({arm.rows} rows)" if arm.state == "dropped" else ""
        table.add_row(
            f"{mark}{arm.name}{partly}", told(decided.metric, value.value), interval,
            f"{arm.build_seconds:.1f} s", money(arm.thousand_cost(decided.prices)),
            "-" if arm.latency_ms is None else f"{arm.latency_ms:.1f} ms",
            "-" if arm.following is None else f"{100 * arm.following.share.value:.0f} %",
        )  # fmt: skip
    console.print(table)
    for arm in decided.arms:
        if arm.state != "measured":
            console.print(f"  {arm.name}: {arm.state}, {arm.why}", markup=False, highlight=False)
    console.print()
    console.print(decided.decision.text, markup=False, highlight=False)
    console.print("* recommended, = a tie with the best", style="dim")
    for note in decided.notes:
        console.print(note, markup=False, highlight=False)
    console.print(str(Path(decided.path) / "decision.html"), markup=False, highlight=False)
