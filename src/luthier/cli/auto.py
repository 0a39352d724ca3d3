"""`luthier auto DATA`: the method and its settings chosen within a time budget, with a live table."""

from __future__ import annotations

import argparse
from contextlib import nullcontext

from luthier.cli import output
from luthier.cli.auto_view import auto_progress, show
from luthier.cli.parser import add_columns, add_common, columns_of
from luthier.cli.server_address import add_remote, add_server, refuse, wanted_server
from luthier.core import clock
from luthier.core.alarm import starting
from luthier.core.durations import seconds_of
from luthier.core.errors import UsageError

SUMMARY = "Choose method, rank, freezing, length and learning rate within a time budget."
USAGE = """luthier auto DATA [--budget 10m] [--task T] [--model M] [--test FILE] [--validation SHARE|FILE]
                    [--columns ROLE=COLUMN] [--set KEY=VALUE]... [--seed N] [--out DIR] [--json]
       luthier auto --resume DIR
       luthier auto DATA ... --server URL [--key-file F] [--suffix WORD] [--detach]
       luthier auto --resume ID --server URL"""
EXAMPLE = """\
example:
  luthier auto train.csv --budget 10m --test test.csv
  luthier auto chats.jsonl --task chat --budget 30m
  luthier auto --resume autos/20260102-101500-train-auto
  luthier predict autos/20260102-101500-train-auto "what a film"
  luthier auto train.csv --budget 10m --server http://127.0.0.1:8321

The budget holds for everything, the start and the report included. The folder answers `luthier predict` from the
first model on, within the first minute, and whenever it is stopped; --resume goes on with the time that was left. At
the end the winner is trained afresh, with checks and report. docs/auto.md says what is tried and how it is chosen.
With --server the files are sent there, and the new model's name is printed last; it answers from the first model on.
Ctrl-C then leaves the run alone, and --resume with its id shows it again.
"""
BUDGET = "10m"
_LONGEST_START = 60.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.add_argument("data", nargs="*", metavar="DATA", help="file, folder, glob or URL; several are one set")
    parser.add_argument("--budget", metavar="TIME", help="for everything: 90s, 10m, 2h (10m)")
    parser.add_argument("--task", metavar="T", help="classify, regress, extract, chat or complete")
    parser.add_argument(
        "--model", metavar="M", help="catalogue name, folder or hub id (minilm; luthier-nano for chat and complete)"
    )
    parser.add_argument("--test", metavar="FILE", help="judges the winner once, at the end")
    parser.add_argument("--validation", metavar="SHARE|FILE", help="what candidates are compared on (10 to 20 %%)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a key of the recipe, for all candidates"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the split, new weights and order (0)")
    parser.add_argument("--out", metavar="DIR", help="where its folder is made (autos)")
    parser.add_argument("--resume", metavar="DIR", help="go on with the time that was left")
    add_columns(parser)
    add_server(parser, optional=True)
    add_remote(parser)
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Choose, show what came out, print the folder."""
    if args.resume is not None:
        _only_resume(args)
    elif not args.data:
        raise UsageError(
            "there is nothing to learn from.", remedy="For example: luthier auto train.csv --budget 10m.",
            code="no_data", param="data",
        )  # fmt: skip
    budget = seconds_of(args.budget or BUDGET)
    if wanted_server(args) is not None:
        refuse(args, ("out",), "A server keeps its runs itself.")
        from luthier.cli.remote_auto import auto_there

        return auto_there(args, budget, _share_or_file(args.validation))
    refuse(args, ("suffix", "detach"), "It is for a run on a server: name that with --server URL.")
    with starting(budget, _started()) if args.resume is None else nullcontext():
        from luthier import automatic

    with auto_progress(quiet=args.quiet) as listener:
        if args.resume is not None:
            found = automatic.auto(resume=args.resume, listener=listener, spent=_started())
        else:
            found = automatic.auto(
                args.data, task=args.task or "auto", model=args.model or "auto", columns=columns_of(args.columns),
                validation=_share_or_file(args.validation), test=args.test, budget=budget, seed=args.seed,
                overrides=args.set, out=args.out or "autos", listener=listener,
                spent=_started(),
            )  # fmt: skip
    if args.json:
        output.print_json({**found.report, "best": found.best, "trials": found.trials, "folder": str(found.path)})
        return 0
    show(found.report, found.path)
    print(found.path, flush=True)
    return 0


def _started() -> float:
    """Seconds that starting this command took; no more than it can be, should a long-lived program have called it."""
    return min(clock.since_start(), _LONGEST_START)


def _share_or_file(text: str | None) -> float | str | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def _only_resume(args: argparse.Namespace) -> None:
    names = ("data", "budget", "task", "model", "test", "validation", "set", "out", "columns", "seed")
    given = [name for name in names if getattr(args, name)]
    if given:
        option = "data" if given[0] == "data" else f"--{given[0]}"
        raise UsageError(
            f"--resume goes on with what was asked, so {option} cannot stand beside it.",
            remedy="Leave it out, or begin anew without --resume.", code="resume_with_recipe", param=given[0],
        )  # fmt: skip
