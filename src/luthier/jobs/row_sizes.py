"""How large rows are, for a forecast, in a process of its own: ``python -m luthier.jobs.row_sizes PARENT``.

It reads one request from stdin and writes one answer to stdout; it has no torch, and limited memory.
"""

from __future__ import annotations

import sys
from itertools import islice
from typing import Any

from luthier.core.errors import LuthierError
from luthier.data.dataset import Dataset
from luthier.data.prepare import names_of
from luthier.data.samples import Sample
from luthier.forecasting.without_probe import bytes_of
from luthier.jobs.children import begin_checking
from luthier.jobs.file_names import renamed
from luthier.jobs.worker_wire import from_line, to_line

LOOKED_AT = 200_000
"""Rows that are read; more are thought to be like them."""
KEPT = 20_000
"""Sizes that are told, evenly chosen."""
_MEMORY_BYTES = 8 * 2**30


def sizes_of(request: dict[str, Any]) -> dict[str, Any]:
    """What a forecast needs of a part of the data.

    Args:
        request: `sources` (paths), `task`, `columns`, `names`.

    Returns:
        `task`, `rows`, `sizes` (bytes of texts), `labels` (how many there are), `answer_bytes` (mean); or `error`.
    """
    try:
        dataset = Dataset.open(request["sources"], task=request["task"], columns=request["columns"])
        usable = (item for item in dataset.items() if isinstance(item, Sample))
        sizes: list[int] = []
        answers, labels = 0, set[str]()
        for sample in islice(usable, LOOKED_AT):
            size, answer = bytes_of(sample)
            sizes.append(size)
            answers += answer
            labels.update(names_of(sample))
        rows = len(sizes) + sum(1 for _ in usable)
    except LuthierError as error:
        return {"error": renamed(error.to_dict(), request["names"])}
    step = max(1, -(-len(sizes) // KEPT))
    return {
        "task": dataset.task, "rows": rows, "sizes": sizes[::step], "labels": len(labels),
        "answer_bytes": answers / max(1, len(sizes)),
    }  # fmt: skip


def main(argv: list[str]) -> int:
    """Answer one request."""
    line = begin_checking(int(argv[0]), _MEMORY_BYTES)
    if line:
        sys.stdout.buffer.write(to_line(sizes_of(from_line(line))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
