"""What a search found: the order of its trials, the front of its objectives, what mattered, and whether luck won."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from luthier.search.pareto import pareto_front
from luthier.search.trial import Trial


@dataclass(frozen=True)
class Ranking:
    """Trials with a result, best first: complete ones before those that stopped, and of these the longest trained."""

    order: tuple[Trial, ...]

    @classmethod
    def of(cls, trials: Sequence[Trial], *, higher_is_better: bool) -> Ranking:
        """Rank by the validation metric, then by the loss, then by the number."""
        sign = 1.0 if higher_is_better else -1.0

        def key(trial: Trial) -> tuple[bool, int, float, float, int]:
            last = trial.last
            assert last is not None
            loss = float("inf") if last.loss is None else last.loss
            is_complete = trial.state == "complete"
            return (not is_complete, 0 if is_complete else -max(trial.results), -sign * last.value, loss, trial.number)

        return cls(tuple(sorted((trial for trial in trials if trial.last is not None), key=key)))

    @property
    def best(self) -> Trial | None:
        """The best one; None where no trial has a result."""
        return self.order[0] if self.order else None

    @property
    def runner_up(self) -> Trial | None:
        """The second one."""
        return self.order[1] if len(self.order) > 1 else None

    def comparable(self) -> int:
        """How many trials the best was picked from: those with a result at its rung."""
        if not self.order:
            return 0
        rung = max(self.order[0].results)
        return sum(trial.at(rung) is not None for trial in self.order)


def front(trials: Sequence[Trial], objectives: Sequence[str], *, higher_is_better: bool) -> list[int]:
    """Numbers of the complete trials that no other beats in every objective."""
    complete = [trial for trial in trials if trial.state == "complete" and trial.values]
    ways = [higher_is_better if name == "quality" else False for name in objectives]
    return [complete[i].number for i in pareto_front([trial.values for trial in complete], ways)]
