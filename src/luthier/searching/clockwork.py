"""The time of a search: what may still begin, and what has to be left for its end."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from luthier.core import clock
from luthier.search.trial import Trial

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
