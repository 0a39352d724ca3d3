"""Mends a data set's file, in a process of its own: ``python -m luthier.jobs.dataset_fixing PARENT``.

It reads one request from stdin and writes one answer to stdout; it has no torch, and limited memory.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from luthier.core.errors import DataError, LuthierError
from luthier.data.columns import KNOWN
from luthier.data.fixing import Fixes, ending_of, write_fixed
from luthier.data.formats import recognise
from luthier.data.row_view import RowView
from luthier.jobs.children import begin_checking
from luthier.jobs.file_names import renamed
from luthier.jobs.worker_wire import from_line, to_line

_MEMORY_BYTES = 8 * 2**30
DUPLICATES = ("duplicate", "duplicate_normalised")
NEAR_DUPLICATES = (*DUPLICATES, "near_duplicate")


def fix_file(request: dict[str, Any]) -> dict[str, Any]:
    """Write the new file.

    Args:
        request: `path`, `view` (folder of its view), `out` (the new file), `names`; `drop` (row numbers), `codes` and
            `findings` (rows with these findings are dropped; the files that hold them), `rename`, `correct`, `add`.

    Returns:
        `dropped`, `corrected`, `added`, `rows`, `ending`; or `error` {code, message, param}.
    """
    path = Path(request["path"])
    try:
        item = recognise(str(path), {}, set(KNOWN))
        lines = _lines_with(set(request["codes"]), request["findings"], path, request["names"])
        fixes = Fixes(
            drop=frozenset(request["drop"]), drop_lines=lines, rename=request["rename"],
            correct={int(number): values for number, values in request["correct"].items()}, add=request["add"],
        )  # fmt: skip
        told = write_fixed(item, RowView(Path(request["view"]), path), fixes, Path(request["out"]))
        if not (told.dropped or told.corrected or told.added or fixes.rename):
            raise DataError("nothing would change.", remedy="The rows are as the fixes want them.", code="no_change")
    except LuthierError as error:
        return {"error": renamed(error.to_dict(), request["names"])}
    return {**asdict(told), "ending": ending_of(item)}


def _lines_with(codes: set[str], findings: dict[str, str], path: Path, names: dict[str, str]) -> frozenset[int]:
    """Lines of this file's rows that have such a finding: those of the report, and those it had no room for."""
    if not codes:
        return frozenset()
    report = json.loads(Path(findings["report"]).read_bytes())
    found = [one for one in report["findings"] if one["source"] in (names[str(path)], "")]
    rest = Path(findings["rest"])
    if rest.is_file():
        with open(rest, "rb") as stream:
            found += [one for line in stream if (one := json.loads(line))["source"].rpartition("/")[2] == path.name]
    return frozenset(int(one["line"]) for one in found if one["code"] in codes and one["line"])


def main(argv: list[str]) -> int:
    """Answer one request."""
    line = begin_checking(int(argv[0]), _MEMORY_BYTES)
    if line:
        sys.stdout.buffer.write(to_line(fix_file(from_line(line))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
