"""The time of a search: what may still begin, and what has to be left for its end."""

from __future__ import annotations

import contextlib
import json
import statistics
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from luthier.core import clock, durable
from luthier.core.errors import StorageError
from luthier.search.trial import Trial

_TICK_SECONDS = 1.0
_FRESH = 1.5
"""What the fresh run with its checks and its proof takes, in trainings of the best trial."""


class Clockwork:
    """Seconds since this search began, those of earlier sittings included; without a budget everything may begin."""

    def __init__(self, budget: float | None, spent: float = 0.0) -> None:
        self.budget = budget
        self._began = clock.monotonic() - spent

    @property
    def elapsed(self) -> float:
        """Seconds so far."""
        return clock.monotonic() - self._began

    @property
    def left(self) -> float:
        """Seconds of the budget; infinite without one."""
        return float("inf") if self.budget is None else self.budget - self.elapsed

    def reserve(self, trials: Sequence[Trial], repeat: int) -> float:
        """What the best again, with other seeds and as a fresh run, will likely take; at most half the budget."""
        whole = [seconds for trial in trials if (seconds := trial.seconds_of_all()) is not None]
        if self.budget is None or not whole:
            return 0.0
        return min(self.budget / 2, statistics.median(whole) * (_FRESH + 2 * repeat))

    def allows(self, trials: Sequence[Trial], repeat: int) -> tuple[bool, bool]:
        """(whether a new trial may begin, whether one may be promoted): not when it would likely end too late."""
        if self.budget is None:
            return True, True
        left = self.left - self.reserve(trials, repeat)
        first = [trial.results[min(trial.results)].seconds for trial in trials if trial.results]
        return left > (statistics.median(first) if first else 0.0), left > 0


class KeptTime:
    """How long was worked in a folder, in a file of it: a sitting that is killed loses a second of this. The time in
    which nobody works is not counted."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def seconds(self) -> float:
        """Of all sittings so far; 0 where nothing tells."""
        try:
            return max(0.0, float(json.loads(self._path.read_text(encoding="utf-8"))["seconds"]))
        except (OSError, ValueError, KeyError, TypeError):
            return 0.0

    @contextmanager
    def running(self, clockwork: Clockwork) -> Iterator[None]:
        """Keep the time while what is inside works."""
        done = threading.Event()
        thread = threading.Thread(target=self._tick, args=(clockwork, done), name="kept-time", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            self._keep(clockwork)

    def _tick(self, clockwork: Clockwork, done: threading.Event) -> None:
        while not done.wait(_TICK_SECONDS):
            self._keep(clockwork)

    def _keep(self, clockwork: Clockwork) -> None:
        """Not synced: after a power cut a little more may be spent again. A full disk is told by what needs it."""
        with contextlib.suppress(StorageError), durable.synced(False):
            durable.write_json(self._path, {"seconds": round(clockwork.elapsed, 3)})
