"""`luthier VERB ...`: finds the verb, runs it, and turns what went wrong into a line and a number."""

from __future__ import annotations

import argparse
import signal
import sys
from types import ModuleType
from typing import Any

from luthier import __version__
from luthier.cli import (
    allocator,
    auto,
    chat,
    check,
    curve,
    decide,
    doctor,
    evaluate,
    export,
    forecast,
    jobs,
    keys,
    models,
    output,
    predict,
    runs,
    search,
    serve,
    train,
    triage,
)
from luthier.cli.parser import Formatter, Parser, refuse_unknown
from luthier.core.errors import UsageError, nearest

VERBS: dict[str, ModuleType] = {
    "check": check,
    "curve": curve,
    "triage": triage,
    "train": train,
    "forecast": forecast,
    "eval": evaluate,
    "predict": predict,
    "export": export,
    "chat": chat,
    "search": search,
    "auto": auto,
    "decide": decide,
    "models": models,
    "runs": runs,
    "serve": serve,
    "keys": keys,
    "jobs": jobs,
    "doctor": doctor,
}
"""Every verb is a module with `SUMMARY`, `USAGE`, `EXAMPLE`, `configure(parser)` and `run(args)`."""

_EXAMPLE = """\
example:
  luthier check reviews.csv
  luthier train --model minilm --data reviews.csv
  luthier predict runs/20260102-101500-reviews "what a film"
"""


def build_parser() -> tuple[Parser, dict[str, Parser]]:
    """The parser of the whole command line, and that of each verb."""
    parser = Parser(
        prog="luthier",
        usage="luthier VERB ...",
        description="Checks your data, fine-tunes a model on it, and proves that the model got better.",
        epilog=_EXAMPLE + "\nluthier VERB --help explains a verb.",
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"luthier {__version__}")
    group = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", parser_class=Parser)
    verbs = {}
    for name, module in VERBS.items():
        verb: Any = group.add_parser(
            name,
            prog=f"luthier {name}",
            usage=module.USAGE,
            help=module.SUMMARY[0].lower() + module.SUMMARY[1:].rstrip("."),
            description=module.SUMMARY,
            epilog=module.EXAMPLE,
            formatter_class=Formatter,
            allow_abbrev=False,
        )
        module.configure(verb)
        verbs[name] = verb
    return parser, verbs


def parse(words: list[str]) -> argparse.Namespace:
    """The words after ``luthier``, understood; a `UsageError` names the nearest verb or option."""
    parser, verbs = build_parser()
    if not words:
        parser.print_help(sys.stderr)
        raise UsageError("a verb is missing.", remedy="For example: luthier check data.csv.", code="no_verb")
    if not words[0].startswith("-") and words[0] not in VERBS:
        raise UsageError(
            f"there is no verb {words[0]!r}.",
            remedy=nearest(words[0], VERBS) + " See luthier --help.",
            code="unknown_verb",
        )
    args, extra = parser.parse_known_args(words)
    refuse_unknown(extra, verbs.get(args.verb or "", parser))
    if args.verb is None:
        raise UsageError("a verb is missing.", remedy="See luthier --help.", code="no_verb")
    return args


def main(words: list[str] | None = None) -> int:
    """Run one command; gives 0 (done), 1 (the work failed) or 2 (wrong usage).

    Without `words` this is the process's own command line: its streams, signals and allocator are set.
    """
    if words is None:
        words = sys.argv[1:]
        output.prepare_streams()
        allocator.restart(words[0] if words and not {"-h", "--help"} & set(words) else "")
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = _run(words)
    except BrokenPipeError:
        output.abandon_stdout()
        return 1
    finally:
        whole = output.close_stdout()
    return code if whole else 1


def _run(words: list[str]) -> int:
    try:
        args = parse(words)
        code: int = VERBS[args.verb].run(args)
        return code
    except BrokenPipeError:
        raise
    except (KeyboardInterrupt, Exception) as error:
        return output.print_error(error, debug="--debug" in words)


def _interrupt(signum: int, frame: object) -> None:
    """SIGTERM outside of training (which has a handler of its own) ends the command like Ctrl-C."""
    raise KeyboardInterrupt
