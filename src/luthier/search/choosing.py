"""Who gets the next seconds of a time budget, and when to stop: successive halving by the clock.

Candidates climb the rungs of `halving`; what time allows decides which rung they begin at (the more time, the later
they are judged), whether another one may begin, and when the rest of the budget has to be left for the fresh run of the
winner.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from luthier.search.candidates import Candidate
from luthier.search.halving import TOP, Done, Ladder, Promote, Standing, Step, next_step

SHARE_FOR_ONE = 0.2
"""Of the budget, what the whole training of one candidate may take: a short schedule that is trained to its end says
more of a candidate than the beginning of a long one. The winner's fresh run is then as long as time allows."""
_FEWEST_EPOCHS, _SHARE_FOR_FEWEST = 3, 0.4
"""After one or two epochs a linear head on the frozen base is often ahead of what would beat it by far: where so few
fit into that share, a candidate gets up to three, in a larger one."""
_SHARE_FOR_LIST = 0.6
"""Of the time for finding, what the first rung of the whole list may take."""
_SHARE_ALONE, _SLOWER = 0.5, 1.15
"""Of the time for finding, what the whole training of the usual recipe may take if others are to be tried, too; and how
much slower it may be than foretold without losing its last epoch."""
FAR = 1.5
"""How many times longer than foretold is no noise, and no difference between candidates of one kind."""
_UNKNOWN = 1.2
"""A kind that was never timed is taken to be a little slower than the others."""


class Pace:
    """Seconds that things take on this machine at this time, learned as they happen.

    Attributes:
        overhead: seconds of opening a trial, besides its epochs.
        slower: how many times longer things take now than when they were timed first; 1 or more.
    """

    def __init__(self, unit: float, overhead: float) -> None:
        self._first, self.overhead = unit, overhead
        self._units: dict[str, float] = {}
        self.slower = 1.0

    def knows(self, candidate: Candidate) -> bool:
        """Whether its kind was timed."""
        return candidate.kind in self._units

    def saw(self, candidate: Candidate, epochs: int, seconds: float) -> None:
        """`epochs` epochs took `seconds`. Where that is far from what this kind took before, it is the machine that
        changed, and everything else takes as much longer."""
        if epochs <= 0 or candidate.is_closed:
            return
        unit = seconds / (epochs * candidate.cost)
        before = self._units.get(candidate.kind)
        if before:
            self.machine(unit / before)
        self._units[candidate.kind] = unit

    def machine(self, ratio: float) -> None:
        """The machine takes `ratio` times as long as it did; what is near 1 is noise, and faster than at first it
        is not held to be."""
        if 1 / FAR < ratio < FAR:
            return
        ratio = max(ratio, 1 / self.slower)
        self.slower *= ratio
        self._first *= ratio
        self.overhead *= ratio
        self._units = {kind: ratio * unit for kind, unit in self._units.items()}

    def opened(self, seconds: float) -> None:
        """A trial took `seconds` besides its epochs."""
        self.overhead = (self.overhead + seconds) / 2

    def epoch(self, candidate: Candidate) -> float:
        """Seconds of an epoch."""
        known = self._units.get(candidate.kind)
        if known is None:
            known = _UNKNOWN * statistics.median(self._units.values()) if self._units else self._first
        return known * candidate.cost


def epochs_that_fit(candidate: Candidate, pace: Pace, most: int, budget: float, fixed: float) -> int:
    """How many epochs its whole training can have: at most `most`; 0 where not even one fits.

    Args:
        fixed: seconds of the winner's end: gates, proof, report.
    """
    if candidate.is_closed:
        return most
    one = max(pace.epoch(candidate), 1e-9)
    found = math.floor(SHARE_FOR_ONE * budget / one)
    if found < _FEWEST_EPOCHS:
        found = min(_FEWEST_EPOCHS, math.floor(min(_SHARE_FOR_FEWEST * budget, (budget - fixed) / 2) / one))
    return max(0, min(most, found))


def epochs_alone(candidate: Candidate, pace: Pace, wanted: int, seconds: float) -> int:
    """The epochs of a candidate that gets the time to itself; 0 where there is time to compare several.

    Where its whole training takes most of the time, one good training beats several halves: what trains for one or two
    epochs loses against a linear head on the frozen base, which it would leave behind with more.

    Args:
        wanted: epochs that it has where nobody is short of time.
        seconds: for finding the best.
    """
    one = max(pace.epoch(candidate), 1e-9)
    if candidate.is_closed or pace.overhead + wanted * one <= _SHARE_ALONE * seconds:
        return 0
    return max(0, min(wanted, math.floor((seconds - pace.overhead) / (_SLOWER * one))))


def first_bracket(
    listed: Sequence[tuple[Candidate, int]], pace: Pace, ladder: Ladder, seconds: float
) -> int:  # fmt: skip
    """The bracket for all candidates: the latest first rung at which the whole list still fits into its share.

    Args:
        listed: candidates with the epochs of their fresh run.
        seconds: for finding the best.
    """
    for bracket in range(TOP, 0, -1):
        cost = sum(
            pace.overhead + pace.epoch(one) * ladder.epochs(ladder.first(total, bracket), total)
            for one, total in listed
            if total
        )
        if cost <= _SHARE_FOR_LIST * seconds:
            return bracket
    return 0


def next_move(
    standings: Sequence[Standing], ladder: Ladder, *, may_begin: bool, fits: Callable[[int, int], bool]
) -> Step:
    """The next step of a session: promote, begin another one, or be done.

    Args:
        may_begin: whether there is another candidate, and time for its first rung.
        fits: whether there is time to bring candidate `number` to `rung`.

    At the end, when neither fits, the best that wait go on as far as there is time: it would be wasted otherwise.
    """
    possible = [
        one if one.state != "paused" or fits(one.number, one.rung + 1) else replace(one, state="complete")
        for one in standings
    ]
    step = next_step(possible, ladder, may_begin=may_begin)
    if not isinstance(step, Done):
        return step
    waiting = [one for one in possible if one.state == "paused" and one.rung in one.scores]
    if not waiting:
        return Done()
    best = max(waiting, key=lambda one: (one.scores[one.rung], one.rung, -one.number))
    return Promote(best.number, best.rung + 1)


@dataclass(frozen=True)
class Result:
    """What a candidate reached: the validation metric, and the loss at the same state."""

    number: int
    value: float
    loss: float


def best_of(results: Sequence[Result], *, higher_is_better: bool, rows: int, is_share: bool) -> Result:
    """The winner. Values nearer than half a standard error of the best on `rows` rows cannot be told apart: of these
    the one with the smallest loss is taken, which says more of few rows than counting right and wrong does."""
    sign = 1.0 if higher_is_better else -1.0
    top = max(results, key=lambda one: (sign * one.value, -one.loss))
    margin = 0.0
    if is_share and higher_is_better:
        margin = 0.5 * math.sqrt(max(top.value * (1 - top.value), 1 / rows) / rows)
    near = [one for one in results if sign * (top.value - one.value) <= margin]
    return min(near, key=lambda one: (one.loss, -sign * one.value, one.number))
