"""`luthier train`: one run, from a recipe or from options, or a run that goes on."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from luthier.cli import output
from luthier.cli.parser import add_columns, add_common
from luthier.cli.progress import progress
from luthier.cli.recipes import recipe_of
from luthier.cli.remedy import add_remedy, remedy
from luthier.cli.server_address import add_remote, add_server, refuse, wanted_server
from luthier.core.errors import UsageError

if TYPE_CHECKING:
    from luthier.api import Run

SUMMARY = "Train: one run, which prints its folder last."
USAGE = """luthier train [RECIPE.yaml] [--model M] [--data D] [--task T] [--method M] [--set KEY=VALUE]...
                     [--test FILE] [--out DIR]
       luthier train --resume RUN [--set KEY=VALUE]
       luthier train RECIPE.yaml|RUN --remedy forgetting [--budget TIME]
       luthier train ... --server URL [--key-file F] [--suffix WORD] [--detach]"""
EXAMPLE = """\
example:
  luthier train recipe.yaml
  luthier train --model minilm --data train.csv --test test.csv --method lora
  luthier train recipe.yaml --set train.epochs=5 --set 'data.columns={label: category}'
  luthier train --resume runs/20260102-101500-train --set train.epochs=8
  luthier train recipe.yaml --remedy forgetting --budget 10m
  luthier train recipe.yaml --server http://127.0.0.1:8321

Ctrl-C saves the state and says how to go on. docs/recipe.md explains every key.
With --remedy forgetting the recipe is trained (or a finished RUN taken), and if it forgot, again with remedies, the
most promising first, until the budget is used; the folder of the run that is kept is printed last. The same command
goes on where it was stopped. docs/forgetting.md.
With --server the files of the recipe are sent there, and the new model's name is printed last; Ctrl-C then leaves
the job alone.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.add_argument("recipe", nargs="?", metavar="RECIPE.yaml", help="what to train and how")
    parser.add_argument(
        "--model", metavar="M", help="catalogue name, folder or hub id (minilm; luthier-nano for chat and complete)"
    )
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="D",
        help="file, folder, glob or URL to learn from; may be repeated",
    )
    parser.add_argument("--validation", metavar="SHARE|FILE", help="held back while training (0.1)")
    parser.add_argument("--test", metavar="FILE", help="judges the result; never seen in training")
    parser.add_argument("--task", metavar="T", help="classify, regress, extract, chat or complete")
    parser.add_argument("--method", metavar="M", help="full, lora, adapter, head, bitfit, ia3 or prefix (full)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any key of the recipe, the value as YAML; may be repeated",
    )
    parser.add_argument("--out", metavar="DIR", help="where runs are kept (runs)")
    parser.add_argument("--resume", metavar="RUN", help="go on from the last checkpoint of a run")
    add_remedy(parser)
    add_columns(parser)
    add_server(parser, optional=True)
    add_remote(parser)
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Train, show the result, print the folder."""
    if wanted_server(args) is not None:
        refuse(args, ("resume", "out", "remedy"), "A server keeps its runs itself: luthier jobs shows them.")
        from luthier.cli.remote_train import train_there

        return train_there(args, recipe_of(args))
    refuse(args, ("suffix", "detach"), "It is for a job on a server: name that with --server URL.")
    if args.remedy is not None:
        return remedy(args)
    refuse(args, ("budget",), "It is for --remedy forgetting.")
    finished = train(args)
    if args.json:
        output.print_json({"run": str(finished.path), "metrics": finished.metrics, "seconds": finished.seconds})
        return 0
    show(finished)
    print(finished.path, flush=True)
    return 0


def train(args: argparse.Namespace) -> Run:
    """The finished run that the options ask for."""
    if args.resume is not None:
        _only_resume(args)
        from luthier import api

        with progress(quiet=args.quiet) as listener:
            return api.resume(args.resume, overrides=args.set, listener=listener)
    recipe = recipe_of(args)  # before the heavy imports: a typing error is answered at once
    from luthier import api

    with progress(quiet=args.quiet) as listener:
        return api.train(recipe, listener=listener)


def show(finished: Run) -> None:
    """The before/after table, the verdict and where the report is."""
    from luthier.cli.tables import before_after, verdict

    console = output.stdout_console()
    table = before_after(finished.report)
    if table is not None:
        console.print(table)
    sentence = verdict(finished.report)
    if sentence:
        console.print(sentence)
    for warning in finished.report.get("warnings", []):
        console.print(f"warning: {output.clean(str(warning))}")
    console.print(f"report: {finished.path / 'report.html'}", soft_wrap=True)


def _only_resume(args: argparse.Namespace) -> None:
    given = [
        name
        for name in ("recipe", "model", "data", "validation", "test", "task", "method", "out", "columns")
        if getattr(args, name)
    ]
    if given:
        option = "a recipe" if given[0] == "recipe" else f"--{given[0]}"
        raise UsageError(
            f"--resume goes on with the run's own recipe, so {option} cannot stand beside it.",
            remedy="Change single keys with --set, or leave --resume out for a new run.",
            code="resume_with_recipe",
            param=given[0],
        )
