"""`luthier export`: a run for other tools, checked against the tuned model."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from luthier.cli import output
from luthier.cli.parser import add_common
from luthier.models.export_forms.forms import DTYPES, FORMS

if TYPE_CHECKING:
    from rich.table import Table

SUMMARY = "Write a run for other tools, and check that it answers as before."
USAGE = "luthier export RUN --to {merged,adapter,gguf,onnx} [--out DIR] [--dtype T] [--json]"
EXAMPLE = """\
example:
  luthier export runs/20260102-101500-train --to merged
  luthier export runs/20260102-101500-train --to gguf --dtype q8_0 --out for-llama-cpp

merged: plain Hugging Face weights; adapter: the PEFT folder alone; gguf: for llama.cpp; onnx: encoders.
A form whose answers differ too much from the tuned model's is not written.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.add_argument("run", metavar="RUN", help="a run folder, or its model/")
    parser.add_argument("--to", required=True, choices=list(FORMS), help="the form")
    parser.add_argument("--out", metavar="DIR", help="a new folder (RUN/exports/FORM-DTYPE)")
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        help="of the weights: merged fp32 (default), bf16, f16; gguf f16 (default), q8_0, bf16, fp32",
    )
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Export and show the parity table."""
    from luthier import api

    result = api.export(args.run, args.to, args.out, dtype=args.dtype).to_dict()
    if args.json:
        output.print_json(result)
        return 0
    if not args.quiet:
        console = output.stdout_console()
        console.print(_table(result["parity"]))
        console.print()
    print(f"{result['path']}  ({result['size'] / 1e6:.1f} MB)")
    return 0


def _table(rows: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(title="parity with the tuned model", title_justify="left", box=None, pad_edge=False)
    for column in ("form", "read by", "largest difference", "same choices", "tune kept"):
        table.add_column(column)
    for row in rows:
        table.add_row(
            row["form"],
            row["reader"],
            f"{row['difference']:.1e} (limit {row['difference_limit']:.0e})",
            f"{row['agreement']:.1%} of {row['answers']} (limit {row['agreement_limit']:.0%})",
            "-" if row["kept"] is None else f"{row['kept']:.1%}",
        )
    return table
