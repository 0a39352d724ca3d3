"""`python -m luthier.forecasting.child`: one probe, of the recipe on stdin; its result, or its error, is the last line
of stdout."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from luthier.core.children import die_with_parent
from luthier.core.errors import LuthierError


def main(parent: int, folder: str) -> None:
    """Probe in `folder`, which the parent made and removes."""
    die_with_parent(parent)
    from luthier.core.recipe import Recipe
    from luthier.core.rundir import RunDir

    recipe = Recipe.build(json.load(sys.stdin), where="forecast")
    try:
        from luthier.forecasting.probe import probe

        answer: dict[str, Any] = {"probe": probe(recipe, RunDir(Path(folder)))}
    except LuthierError as error:
        answer = {"error": {**vars(error), "class": type(error).__name__}}
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error).lower():
            raise
        answer = {"memory": str(error)[:200]}
    print(json.dumps(answer, default=str), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
