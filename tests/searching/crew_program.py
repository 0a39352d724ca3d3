"""A worker of a search whose trials learn a formula, and die as a file of the search says, for `workers.PROGRAM`.

``deadly.json`` in the search's folder: ``{"0001": 2}`` kills who trains trial 1 two times, ``{"start": 9}`` who starts
nine times, ``{"says": 1}`` ends with an error that is named, ``{"slip": 1}`` with one that nobody foresaw.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import types
from pathlib import Path
from typing import Any

from killed_search import SlowBench, SlowRun

from luthier.core.durable_files import exclusive
from luthier.core.errors import DataError
from luthier.core.events import Listener, ignore
from luthier.core.recipe import Recipe
from luthier.searching import worker

FOLDER = Path(sys.argv[1])


def is_due(name: str) -> bool:
    """Whether this is to happen once more."""
    path = FOLDER / "deadly.json"
    with exclusive(FOLDER / "deadly.lock"):
        plan = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if not plan.get(name):
            return False
        path.write_text(json.dumps({**plan, name: plan[name] - 1}), encoding="utf-8")
    return True


class DeadlyBench(SlowBench):
    def __init__(self, recipe: Recipe, *, listener: Listener = ignore) -> None:
        if is_due("start"):
            os.kill(os.getpid(), signal.SIGKILL)
        if is_due("says"):
            raise DataError("the rows are gone.")
        if is_due("slip"):
            raise RuntimeError("a row: 'private'")
        super().__init__(FOLDER / "epochs.log", float(os.environ.get("EPOCH_SECONDS", "0.01")))

    def open(self, recipe: Recipe, folder: Path) -> Any:
        return DeadlyRun(self, recipe, folder)


class DeadlyRun(SlowRun):
    def advance(self, epochs: int) -> Any:
        if is_due(self.folder.name):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().advance(epochs)


if __name__ == "__main__":
    with open(FOLDER / "pids.log", "a", encoding="utf-8") as log:
        log.write(f"{os.getpid()}\n")
    bench = types.ModuleType("luthier.searching.workbench")  # without torch, which takes seconds
    bench.Workbench = DeadlyBench  # type: ignore[attr-defined]
    sys.modules["luthier.searching.workbench"] = bench
    sys.exit(worker.main())
