"""`luthier check` for a client of the server, in a process of its own: ``python -m luthier.jobs.data_check PARENT``.

It reads one request from stdin, writes the report to stdout, and has limited memory.
"""

from __future__ import annotations

import sys
from typing import Any

from luthier.core.errors import DataError, LuthierError
from luthier.data.samples import Finding
from luthier.jobs.children import begin_checking
from luthier.jobs.file_names import renamed
from luthier.jobs.worker_wire import from_line, to_line

_MEMORY_BYTES = 16 * 2**30
"""Of address space, most of which torch reserves and never touches."""


def run_check(request: dict[str, Any]) -> dict[str, Any]:
    """What was found.

    Args:
        request: `names` (what people call each path), and the arguments of `luthier.api.check`; with `findings_file`
            what the report has no room for goes there.

    Returns:
        `report`, the JSON of `luthier check`; or `error` {code, message, param} for what cannot be checked at all.
    """
    from luthier import api

    names: dict[str, str] = request.pop("names")
    try:
        report = api.check(request.pop("data"), **request).to_dict()
        report["stats"]["findings"]["file"] = None  # a path of ours
    except DataError as error:
        place, _, line = error.where.rpartition(":")
        if not line.isdecimal():
            place, line = error.where, "0"
        finding = Finding(error.code, "error", error.message, error.remedy, int(line), place)
        report = {"ok": False, "task": request["task"], "rows": 0, "findings": [finding.to_dict()], "stats": {}}
    except LuthierError as error:
        return {"error": renamed(error.to_dict(), names)}
    return {"report": renamed(report, names)}


def main(argv: list[str]) -> int:
    """Answer one request."""
    line = begin_checking(int(argv[0]), _MEMORY_BYTES)
    if not line:
        return 0  # who asked is gone
    answer = to_line(run_check(from_line(line)))
    sys.stdout.buffer.write(answer)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
