"""A study whose trials are scored by a formula, and the loop that trains them."""

from __future__ import annotations

import math
from typing import Any

from luthier.search.study import Study
from luthier.search.trial import Result, Trial

EPOCHS = 9


class Claims:
    """Claims of one process, in memory."""

    def __init__(self) -> None:
        self.held: set[int] = set()
        self.elsewhere: set[int] = set()

    def take(self, number: int) -> bool:
        if number in self.elsewhere:
            return False
        self.held.add(number)
        return True

    def release(self, number: int) -> None:
        self.held.discard(number)


def score(params: Any, share: float = 1.0) -> float:
    """The formula: best at a rate of 1e-3, and rising with the share of the epochs."""
    rate = next(value for name, value in params.items() if name.startswith("train.learning_rate"))
    return (0.9 - 0.1 * abs(math.log10(rate / 1e-3))) * (0.5 + 0.5 * share)


class Searching:
    """A study and its loop."""

    def __init__(self, study: Study) -> None:
        self.study, self.claims = study, Claims()

    def tell(self, trial: Trial, **more: Any) -> Trial:
        """Train a trial to its rung and tell it."""
        rung = trial.rung if trial.results else self.study.ladder.first(EPOCHS, trial.bracket)
        epoch = self.study.ladder.epochs(rung, EPOCHS)
        result = Result(epoch, score(trial.params, epoch / EPOCHS), None, float(epoch))
        told = self.study.report(trial, rung, result, epochs=EPOCHS, parameters=100, **more)
        self.claims.release(trial.number)
        return told

    def run(self, steps: int = 10_000) -> list[Trial]:
        for _ in range(steps):
            task = self.study.next(self.claims)
            if task is None:
                break
            self.tell(task.trial)
        return self.study.trials()
