"""A forecast of a run for a client of the server, in a process of its own (``-m luthier.jobs.run_forecast PARENT``).

It reads one request from stdin and writes the forecast to stdout. Nothing is trained for it: the answer comes from the
shapes of the data and what earlier runs on this machine took.
"""

from __future__ import annotations

import sys
from typing import Any

from luthier.core.errors import LuthierError
from luthier.jobs.children import begin_checking
from luthier.jobs.data_check import renamed
from luthier.jobs.worker_wire import from_line, to_line

_MEMORY_BYTES = 16 * 2**30


def run_forecast(request: dict[str, Any]) -> dict[str, Any]:
    """The forecast.

    Args:
        request: `recipe` with paths, and `names`, what people call each path.

    Returns:
        `forecast`, as `luthier forecast --json` prints it; or `error` {code, message, param}.
    """
    from luthier.core.recipe import Recipe
    from luthier.forecasting import forecast

    names: dict[str, str] = request["names"]
    try:
        return {"forecast": renamed(forecast(Recipe.build(request["recipe"]), probe=False).to_dict(), names)}
    except LuthierError as error:
        return {"error": renamed(error.to_dict(), names)}


def main(argv: list[str]) -> int:
    """Answer one request."""
    line = begin_checking(int(argv[0]), _MEMORY_BYTES)
    if line:
        sys.stdout.buffer.write(to_line(run_forecast(from_line(line))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
