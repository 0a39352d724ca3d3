"""Reads a file that is to be a data set, in a process of its own: ``python -m luthier.jobs.dataset_reading PARENT``.

It reads one request from stdin and writes one answer to stdout; it has no torch, and limited memory.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from luthier.core.errors import DataError, LuthierError
from luthier.data.columns import KNOWN
from luthier.data.dataset import Dataset
from luthier.data.formats import Format, recognise
from luthier.data.row_view import write_view
from luthier.jobs.children import begin_checking
from luthier.jobs.file_names import renamed
from luthier.jobs.worker_wire import from_line, to_line

_MEMORY_BYTES = 8 * 2**30


def read_file(request: dict[str, Any]) -> dict[str, Any]:
    """Recognise a file and write its view.

    Args:
        request: `path`, `folder` (where the view goes; it is there), `most_bytes` (of the rows, unpacked), `names`.

    Returns:
        `format`, `task` ("" where the rows do not say it), `rows`, `columns`; or `error` {code, message, param}.
    """
    path = request["path"]
    try:
        item, task = _recognised(path)
        facts = write_view(item, Path(request["folder"]), most_bytes=request["most_bytes"])
        if not facts.rows:
            raise DataError("this file has no rows.", where=path, remedy="Give one with rows.", code="empty_file")
    except LuthierError as error:
        return {"error": renamed(error.to_dict(), request["names"])}
    return {"format": item.name, "task": task, "rows": facts.rows, "columns": facts.columns}


def _recognised(path: str) -> tuple[Format, str]:
    try:
        dataset = Dataset.open(path)
    except LuthierError:
        return recognise(path, {}, set(KNOWN)), ""  # raises where it is no data at all
    return dataset.files()[0][0], dataset.task


def main(argv: list[str]) -> int:
    """Answer one request."""
    line = begin_checking(int(argv[0]), _MEMORY_BYTES)
    if line:
        sys.stdout.buffer.write(to_line(read_file(from_line(line))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
