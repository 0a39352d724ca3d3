"""The shape of the command line: `argparse` with our errors and options that several verbs share."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable
from typing import NoReturn

from luthier.core.errors import UsageError


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help of a fixed width: the same text in a terminal, in docs/cli.md and in the tests."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=100)


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that raises `UsageError` instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        """Raise argparse's complaint as an error with a remedy."""
        raise UsageError(f"{message}.", remedy=f"See {self.prog} --help.", code="usage")


def add_common(parser: argparse.ArgumentParser, *, json: bool = True, nested: bool = False) -> None:
    """`--json`, `--quiet`, `--debug`; a nested verb must not reset what stands before it."""
    default = argparse.SUPPRESS if nested else False
    group = parser.add_argument_group("output")
    if json:
        group.add_argument(
            "--json",
            action="store_true",
            default=default,
            help="one JSON document on stdout; everything else goes to stderr",
        )
    group.add_argument("--quiet", action="store_true", default=default, help="no progress, only the result")
    group.add_argument("--debug", action="store_true", default=default, help="show the traceback when something fails")


def add_columns(parser: argparse._ActionsContainer) -> None:
    """`--columns`, for data whose columns have other names."""
    parser.add_argument(
        "--columns",
        action="append",
        default=[],
        metavar="ROLE=COLUMN",
        help="where names differ: text=review,label=stars (or a position from 0)",
    )


def columns_of(texts: Iterable[str]) -> dict[str, str] | None:
    """The mapping that `--columns` gives: role to column; None when the option was not used.

    A part without ``=`` goes on with the one before it, so that ``score=x,y`` names two columns.
    """
    mapping: dict[str, str] = {}
    role = ""
    for text in texts:
        for part in text.strip().removeprefix("{").removesuffix("}").split(","):
            mark = "=" if "=" in part else ": " if ": " in part else ""
            name, _, column = part.partition(mark) if mark else ("", "", part)
            if mark:
                role = name.strip()
                mapping[role] = column.strip()
            elif role and column.strip():
                mapping[role] += f",{column.strip()}"
            if not role or not mapping[role]:
                raise UsageError(
                    f"--columns needs ROLE=COLUMN, not {text!r}.",
                    remedy="For example --columns text=review,label=stars.",
                    code="invalid_columns",
                    param="columns",
                )
    return mapping or None


def one_or_many(values: list[str]) -> str | list[str]:
    """A repeated option as the recipe has it: one value alone, several as a list."""
    return values[0] if len(values) == 1 else values


def refuse_unknown(extra: list[str], parser: argparse.ArgumentParser) -> None:
    """Raise a `UsageError` for the first word that no option took, with the nearest option."""
    if not extra:
        return
    word = extra[0].partition("=")[0]
    if not word.startswith("-"):
        raise UsageError(f"{word!r} is one word too many.", remedy=f"See {parser.prog} --help.")
    options = [option for option in parser._option_string_actions if option.startswith("--")]
    close = difflib.get_close_matches(word, options, n=2, cutoff=0.5)
    hint = f"Did you mean {' or '.join(close)}?" if close else f"See {parser.prog} --help."
    raise UsageError(f"{parser.prog} has no option {word}.", remedy=hint, code="unknown_option")
