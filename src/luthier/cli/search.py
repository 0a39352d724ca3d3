"""`luthier search RECIPE.yaml`: hyperparameter search, a live table, and a fresh run of the best recipe."""

from __future__ import annotations

import argparse
from typing import Any

from luthier.cli import output
from luthier.cli.budget import seconds_of
from luthier.cli.parser import add_columns, add_common
from luthier.cli.recipes import values_of
from luthier.cli.search_view import search_progress, show
from luthier.core.errors import UsageError

SUMMARY = "Search: train many recipes a little and the best of them whole, and say whether luck won."
USAGE = """luthier search [RECIPE.yaml] [--data D] [--model M] [--task T] [--method M] [--set KEY=VALUE]...
                      [--trials N] [--budget 10m] [--sampler S] [--pruner P] [--workers N] [--repeat N]
       luthier search --resume DIR [--trials N] [--budget 10m] [--workers N] [--repeat N]"""
EXAMPLE = """\
example:
  luthier search recipe.yaml
  luthier search recipe.yaml --trials 40 --budget 20m --workers 2
  luthier search --data train.csv --method lora --set 'method.rank={search: [4, 8, 16]}'
  luthier search recipe.yaml --set 'train.learning_rate={search: {low: 1e-4, high: 1e-2, log: true}}'
  luthier search --resume searches/20260102-101500-train

Any field of the recipe may be {search: [a, b]} or {search: {low: 1e-5, high: 1e-3, log: true}}; the recipe's key
`search` holds what the options below set. Trials that fall behind stop early; one that is promoted goes on from its
checkpoint. At the end the best is trained again with other seeds, and then afresh with checks and report.
Ctrl-C saves everything. --resume in a second terminal helps the first one. docs/search.md.
"""
_OPTIONS = ("trials", "sampler", "pruner", "workers", "repeat", "seed", "objectives")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.add_argument("recipe", nargs="?", metavar="RECIPE.yaml", help="what to train, with {search: ...} in it")
    parser.add_argument(
        "--data", action="append", default=[], metavar="D", help="file, folder, glob or URL to learn from"
    )
    parser.add_argument("--model", metavar="M", help="catalogue name, folder or hub id")
    parser.add_argument("--validation", metavar="SHARE|FILE", help="what trials are compared on (0.1)")
    parser.add_argument("--test", metavar="FILE", help="judges the fresh run of the best; no trial sees it")
    parser.add_argument("--task", metavar="T", help="classify, regress, extract, chat or complete")
    parser.add_argument("--method", metavar="M", help="full, lora, adapter, head, bitfit, ia3 or prefix")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="any key of the recipe, the value as YAML"
    )
    parser.add_argument("--out", metavar="DIR", help="where the folder of the search is made (searches)")
    parser.add_argument("--resume", metavar="DIR", help="go on with a search, or help one that runs")
    group = parser.add_argument_group("how to search (also under the recipe's key `search`)")
    group.add_argument("--trials", type=int, metavar="N", help="how many (24; of a grid all)")
    group.add_argument("--budget", metavar="TIME", help="for everything: 90s, 10m, 2h")
    group.add_argument("--sampler", metavar="S", help="tpe, random, grid or gp (tpe)")
    group.add_argument("--pruner", metavar="P", help="halving, hyperband or none (halving)")
    group.add_argument("--objectives", metavar="A,B", help="quality, size, seconds, forgetting (quality)")
    help_workers = "processes side by side, of one thread each (1); auto: one per core"
    group.add_argument("--workers", type=_workers, metavar="N", help=help_workers)
    group.add_argument("--repeat", type=int, metavar="N", help="other seeds for the best and the runner-up (3)")
    group.add_argument("--seed", type=int, metavar="N", help="of the search itself (0)")
    add_columns(parser)
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Search, show what came out, print the folder."""
    options: dict[str, Any] = {name: getattr(args, name) for name in _OPTIONS}
    options["budget"] = None if args.budget is None else seconds_of(args.budget)
    values = None
    if args.resume is not None:
        _only_resume(args)
    else:
        values = values_of(args)
    from luthier import searching

    with search_progress(quiet=args.quiet) as listener:
        found = searching.search(
            values, resume=args.resume, out=args.out or "searches", listener=listener,
            where=args.recipe or "command line", **options,
        )  # fmt: skip
    if args.json:
        report = found.report
        document = {**report, "best": found.best, "trials": found.trials, "folder": str(found.path)}
        output.print_json(document)
        return 0
    show(found.report, found.path)
    print(found.path, flush=True)
    return 0


def _workers(text: str) -> int | str:
    return text if text == "auto" else int(text)


_workers.__name__ = "number"  # as argparse calls what it cannot read


def _only_resume(args: argparse.Namespace) -> None:
    names = ("recipe", "data", "model", "validation", "test", "task", "method", "set", "out", "columns")
    given = [name for name in names if getattr(args, name)]
    if given:
        option = "a recipe" if given[0] == "recipe" else f"--{given[0]}"
        raise UsageError(
            f"--resume goes on with what the search was asked, so {option} cannot stand beside it.",
            remedy="Leave it out, or begin a new search.", code="resume_with_recipe", param=given[0],
        )  # fmt: skip
