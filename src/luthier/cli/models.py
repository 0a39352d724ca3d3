"""`luthier models`: the base models that are known by name."""

from __future__ import annotations

import argparse
from typing import Any

from luthier.cli import output
from luthier.cli.parser import Formatter, Parser, add_common

SUMMARY = "List the base models, or show one."
USAGE = "luthier models [show NAME] [--json]"
EXAMPLE = """\
example:
  luthier models
  luthier models show minilm --json

An encoder reads a text and answers with labels or numbers; a generative model writes.
Any folder or hub id works as well: luthier train --model org/name --data train.csv
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    add_common(parser)
    actions = parser.add_subparsers(dest="action", metavar="", parser_class=Parser)
    show = actions.add_parser(
        "show",
        usage="luthier models show NAME [--json]",
        help="one model in full",
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    show.add_argument("name", metavar="NAME", help="a name that luthier models lists")
    add_common(show, nested=True)


def run(args: argparse.Namespace) -> int:
    """List or show."""
    from luthier.models import catalogue

    if args.action == "show":
        entry = catalogue.find(args.name).to_dict()
        if args.json:
            output.print_json(entry)
        else:
            for key, value in entry.items():
                print(f"{key + ':':<18} {_plain(value)}")
        return 0
    rows = [entry.to_dict() for entry in catalogue.entries()]
    if args.json:
        output.print_json({"models": rows})
        return 0
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("name", "kind", "what", "parameters", "context", "licence", "tasks"):
        table.add_column(column)
    for item in rows:
        table.add_row(
            item["name"],
            item["kind"],
            item["title"],
            f"{item['parameters'] / 1e6:.1f} M",
            str(item["context"]),
            item["licence"],
            ", ".join(item["tasks"]),
        )
    output.stdout_console().print(table)
    return 0


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(f"\n  {key}: {item}" for key, item in value.items())
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)
