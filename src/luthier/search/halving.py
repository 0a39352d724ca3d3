"""Which trial goes on and which stays where it is: asynchronous successive halving and Hyperband.

ASHA (Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning"): whoever is free promotes a trial that is
among the best `1/reduction` of its rung, or begins a new one; nobody waits for a rung to be full. Hyperband (Li et al.
2018) runs several of these brackets, which begin at different rungs, as nobody knows how early a trial can be judged.

A rung is a share of a trial's own epochs: the highest is all of them, the next lower one `1/reduction` of them. At the
same share of their schedules the rates of all trials have fallen alike. A trial that is promoted goes on from its
checkpoint. An eager search brings its first trial to the top at once, or a better one that comes before it: there is a
whole result from the first minutes on. Everything here is a function of what the journal holds, so that any process,
also one that begins after a crash, decides the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

TOP = 5
"""The number of the highest rung: the whole schedule."""


@dataclass(frozen=True)
class Ladder:
    """The rungs of a search; without rungs a trial trains all its epochs at once."""

    reduction: int = 3
    with_rungs: bool = True

    def epochs(self, rung: int, total: int) -> int:
        """How many of a trial's `total` epochs are done at a rung."""
        return max(1, round(total / float(self.reduction ** (TOP - rung))))

    def lowest(self, total: int) -> int:
        """The first rung of a trial with so many epochs: one epoch at least, and each rung longer than the last."""
        if not self.with_rungs:
            return TOP
        rung = TOP
        while rung > 0 and total >= float(self.reduction ** (TOP - rung + 1)):
            rung -= 1
        return rung

    def first(self, total: int, bracket: int) -> int:
        """The first rung of a trial of this bracket."""
        return min(TOP, self.lowest(total) + bracket)


@dataclass(frozen=True)
class Standing:
    """What counts of a trial: larger scores are better.

    Attributes:
        scores: by rung.
        rung: that it works towards, or has reached.
    """

    number: int
    state: Literal["running", "paused", "complete", "failed"]
    rung: int
    scores: Mapping[int, float] = field(default_factory=dict)
    bracket: int = 0


@dataclass(frozen=True)
class Promote:
    """Trial `number` goes on to `rung`."""

    number: int
    rung: int


@dataclass(frozen=True)
class Begin:
    """A new trial, in this bracket."""

    bracket: int


@dataclass(frozen=True)
class Wait:
    """Nothing now: what others are training decides."""


@dataclass(frozen=True)
class Done:
    """Nothing is left to do."""


Step = Promote | Begin | Wait | Done


def brackets_of(ladder: Ladder, total: int, *, hyperband: bool) -> int:
    """How many brackets there are for trials of so many epochs: one, or of Hyperband one for each rung."""
    return TOP - ladder.lowest(total) + 1 if hyperband else 1


def next_step(
    trials: Sequence[Standing], ladder: Ladder, *, brackets: int = 1, may_begin: bool = True,
    may_promote: bool = True, eager: bool = False,
) -> Step:  # fmt: skip
    """What whoever is free should do.

    Args:
        brackets: of Hyperband; 1 for successive halving.
        may_begin: False when all trials have begun, or the budget leaves no time for a new one.
        may_promote: False when the budget is used up.
        eager: as long as no trial is complete, promote the best of a rung before it holds `reduction` of them.
    """
    if may_promote:
        nothing_whole = all(trial.state != "complete" for trial in trials)
        found = _promotable(trials, ladder, 1 if eager and nothing_whole else 0)
        if found is not None:
            return found
    if may_begin:
        return Begin(next_bracket(trials, ladder.reduction, brackets))
    if any(trial.state == "running" for trial in trials):
        return Wait()
    if may_promote:
        found = _last_promotion(trials)
        if found is not None:
            return found
    return Done()


def next_bracket(trials: Sequence[Standing], reduction: int, brackets: int) -> int:
    """The bracket that is furthest behind its share: Hyperband gives bracket s, of those that begin s rungs below the
    top, ceil(S / (s + 1) * reduction^s) trials (S brackets)."""
    shares = []
    for bracket in range(brackets):
        below = brackets - 1 - bracket
        shares.append(-(-brackets * reduction**below // (below + 1)))
    counts = [sum(trial.bracket == bracket for trial in trials) for bracket in range(brackets)]
    return max(range(brackets), key=lambda bracket: (shares[bracket] / (counts[bracket] + 1), -bracket))


def ranked(trials: Sequence[Standing], bracket: int, rung: int) -> list[Standing]:
    """The trials with a result at a rung of a bracket, best first. One that ended before this rung, because it got no
    better, keeps its score; a failed one is behind all."""
    found = [trial for trial in trials if trial.bracket == bracket and _has(trial, rung)]
    return sorted(found, key=lambda trial: (-_score(trial, rung), trial.number))


def _has(trial: Standing, rung: int) -> bool:
    if trial.state == "failed":
        return rung == trial.rung or rung in trial.scores
    return rung in trial.scores or (trial.state == "complete" and bool(trial.scores) and rung > max(trial.scores))


def _score(trial: Standing, rung: int) -> float:
    if rung in trial.scores:
        return trial.scores[rung]
    return float("-inf") if trial.state == "failed" else trial.scores[max(trial.scores)]


def _promotable(trials: Sequence[Standing], ladder: Ladder, fewest: int) -> Promote | None:
    """The best trial of the highest rung that has one among its best `1/reduction`, as in ASHA's `get_job`; among its
    best `fewest` where that is more."""
    for rung in range(TOP - 1, -1, -1):
        for bracket in sorted({trial.bracket for trial in trials}):
            order = ranked(trials, bracket, rung)
            for trial in order[: max(fewest, len(order) // ladder.reduction)]:
                if trial.state == "paused" and trial.rung == rung:
                    return Promote(trial.number, rung + 1)
    return None


def _last_promotion(trials: Sequence[Standing]) -> Promote | None:
    """At the end of a bracket of which nobody has come to the top, its best goes on: too few trials for a whole
    ladder must not leave a search without a result."""
    for bracket in sorted({trial.bracket for trial in trials}):
        mine = [trial for trial in trials if trial.bracket == bracket]
        if any(trial.state == "complete" for trial in mine):
            continue
        paused = [trial for trial in mine if trial.state == "paused"]
        if paused:
            best = max(paused, key=lambda trial: (trial.rung, trial.scores[trial.rung], -trial.number))
            return Promote(best.number, best.rung + 1)
    return None
