"""A search in a process of its own, on the bench of a formula whose epochs take time: to be killed in the middle.

    killed_search.py FOLDER SECONDS_PER_EPOCH WORKERS [--helper]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from fake_bench import FakeBench, FakeRun

from luthier.core.recipe import Recipe
from luthier.search.study import Study
from luthier.searching.clockwork import Clockwork
from luthier.searching.folder import SearchFolder
from luthier.searching.worker import Worker


class SlowBench(FakeBench):
    def __init__(self, log: Path, seconds: float) -> None:
        super().__init__(noise=0.003)
        self.log, self.seconds = log, seconds

    def open(self, recipe: Recipe, folder: Path) -> FakeRun:
        return SlowRun(self, recipe, folder)


class SlowRun(FakeRun):
    """Trains epoch by epoch, each of which is kept before the next begins."""

    bench: SlowBench

    def advance(self, epochs: int) -> Any:
        reached = None
        for epoch in range(1, epochs + 1):
            if epoch > self.done():
                time.sleep(self.bench.seconds)  # it trains; only then is the epoch kept, and noted at once
            before = len(self.bench.advances)
            reached = super().advance(epoch)
            if len(self.bench.advances) > before:
                with open(self.bench.log, "a", encoding="utf-8") as handle:
                    handle.write(f"{self.folder.name} {epoch}\n")
        return reached


def main(folder: Path, seconds: float) -> None:
    search = SearchFolder(folder)
    space, settings = search.asked()
    study = Study(search.journal(), space, settings)
    bench = SlowBench(folder / "epochs.log", seconds)
    Worker(bench, study, search, search.claims(), Clockwork(None)).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
