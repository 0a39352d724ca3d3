"""`luthier train ... --remedy forgetting`: the run that forgot least without being worse at its task."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.cli import output
from luthier.cli.budget import seconds_of
from luthier.cli.progress import duration, progress
from luthier.cli.recipes import recipe_of
from luthier.core.errors import UsageError

if TYPE_CHECKING:
    from luthier.core.recipe import Recipe
    from luthier.remedying import Choice

_BUDGET = "10m"


def add_remedy(parser: argparse.ArgumentParser) -> None:
    """`--remedy` and `--budget`."""
    group = parser.add_argument_group("against forgetting")
    group.add_argument("--remedy", metavar="WHAT", help="forgetting: try remedies, keep the run that forgot least")
    group.add_argument("--budget", metavar="TIME", help=f"for all remedies together: 90s, 10m, 2h ({_BUDGET})")


def remedy(args: argparse.Namespace) -> int:
    """Try, tell what was chosen and why, print the folder of the chosen run."""
    if args.remedy != "forgetting":
        raise UsageError(
            f"there is no remedy for {args.remedy!r}.", remedy="Write --remedy forgetting.", code="unknown_remedy",
            param="remedy",
        )  # fmt: skip
    if args.resume is not None:
        raise UsageError(
            "--resume does not go with --remedy.",
            remedy=f"Give the finished run instead of a recipe: luthier train {args.resume} --remedy forgetting",
            code="option_does_not_fit", param="resume",
        )  # fmt: skip
    budget = seconds_of(args.budget or _BUDGET)
    recipe, plain = _recipe_or_run(args)
    from luthier.core.rundir import RunDir
    from luthier.remedying import remedy_forgetting

    with progress(quiet=args.quiet) as listener:
        choice = remedy_forgetting(recipe, budget_seconds=budget, plain=plain, listener=listener)
    report = RunDir(choice.run).report() or {}
    if args.json:
        metrics = {name: cell["value"] for name, cell in report["metrics"].items()}
        seconds = sum(one.seconds for one in choice.attempts)
        output.print_json(
            {"run": str(choice.run), "metrics": metrics, "seconds": seconds, "remedy": choice.to_dict()}
        )  # fmt: skip
        return 0
    _show(choice)
    print(choice.run, flush=True)
    return 0


def _recipe_or_run(args: argparse.Namespace) -> tuple[Recipe, Path | None]:
    """A recipe to begin with, or that of a finished run, and the run."""
    from luthier.core.recipe import Recipe
    from luthier.core.recipe_io import read_yaml
    from luthier.core.rundir import RunDir

    if not args.recipe or not Path(args.recipe).is_dir():
        return recipe_of(args), None
    run = RunDir.open(args.recipe)
    if run.report() is None:
        raise UsageError(
            "this run is not finished.", where=str(run.path),
            remedy=f"First: luthier train --resume {run.path}", code="run_not_finished", param="remedy",
        )  # fmt: skip
    if args.set or args.model or args.data or args.method or args.task:
        raise UsageError(
            "a finished run is taken with its own recipe.", remedy="Give the recipe file to change it.",
            code="option_does_not_fit", param="set",
        )  # fmt: skip
    recipe = Recipe.build(read_yaml(run.recipe_yaml), where=str(run.recipe_yaml))
    return recipe.replace(out=args.out or str(run.path.parent)), run.path


def _show(choice: Choice) -> None:
    from rich.table import Table

    table = Table("", "changed", "forgotten", "at the task, against the plain run", "time")
    for one in choice.attempts:
        changed = ", ".join(f"{key}: {value}" for key, value in one.changes.items())
        said = f"not tried: {one.failed}" if one.failed else one.verdict or ""
        lost = "" if one.forgotten is None else f"{one.forgotten:.3f}"
        mark = "> " if one.name == choice.chosen else "  "
        table.add_row(mark + one.name, output.clean(changed), lost, output.clean(said), duration(one.seconds))
    console = output.stdout_console()
    console.print(table)
    console.print(output.clean(choice.sentence))
