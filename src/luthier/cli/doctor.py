"""`luthier doctor`: what this machine and this installation can do, found out by trying."""

from __future__ import annotations

import argparse
from typing import Any

from luthier.cli import output
from luthier.cli.parser import add_common

SUMMARY = "Probe this machine and this installation."
USAGE = "luthier doctor [--out DIR] [--json]"
EXAMPLE = """\
example:
  luthier doctor
  luthier doctor --json

Exit code 1 when something that training needs is missing. For luthier serve it looks at LUTHIER_PORT, LUTHIER_DATABASE
and the other variables of the service.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.add_argument("--out", default="runs", metavar="DIR", help="where runs will be kept (runs)")
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Probe and report."""
    from luthier.cli import probes as tried
    from luthier.cli import service_probes

    probes = tried.all_probes(args.out, (service_probes.service, service_probes.database))
    ok = all(probe.state != "missing" for probe in probes)
    if args.json:
        rows: list[dict[str, Any]] = [probe.to_dict() for probe in probes]
        output.print_json({"ok": ok, "probes": rows})
        return 0 if ok else 1
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("probe", "", "found"):
        table.add_column(column)
    for probe in probes:
        found = f"{probe.detail} {probe.remedy}" if probe.state != "ok" else probe.detail
        table.add_row(probe.name, probe.state, found)
    output.stdout_console().print(table)
    return 0 if ok else 1
