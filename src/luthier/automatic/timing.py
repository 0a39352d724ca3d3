"""The time of an automatic run: what things will take, and what has to be left for the end."""

from __future__ import annotations

from collections.abc import Iterable

from luthier.automatic.entry import Entry
from luthier.search.candidates import Candidate, linear
from luthier.search.choosing import SHARE_FOR_FRESH, Pace, epochs_that_fit
from luthier.search.halving import Ladder
from luthier.searching.clockwork import Clockwork

END = 2.0
"""Seconds for auto.json, auto.html and what comes after."""
OPENING = 1.0
"""Seconds of opening a trial, until one was timed."""
_PAGES = 2.0
"""Seconds for intervals, the report and the model card."""
_MARGIN = 1.15


class Timing:
    """Arithmetic over what was timed so far.

    Attributes:
        reading: seconds that the data took to read. words: that the linear model on word counts took.
        learned, compared, judged: rows.
    """

    def __init__(self, clockwork: Clockwork, budget: float, *, learned: int, compared: int, judged: int) -> None:
        self.clockwork, self.budget = clockwork, budget
        self.learned, self.compared, self.judged = learned, compared, judged
        self.reading = self.words = 0.0
        self.pace = Pace(0.0, OPENING)

    @property
    def left(self) -> float:
        """Seconds of the budget."""
        return self.clockwork.left

    def fixed(self) -> float:
        """Of the last run besides its epochs: reading, loading, gates, proof, report; and the end."""
        forward = self.pace.epoch(linear()) / max(1, self.learned)
        proof = (1.5 * (self.judged or self.compared) + self.compared) * forward + 1.3 * self.words
        return self.reading + 2 * self.pace.overhead + proof + _PAGES + END

    def fresh(self, entry: Entry) -> float:
        """Of a training of this candidate from the beginning."""
        trained = entry.seconds_of_all
        if trained is None or entry.candidate.is_closed:
            trained = self.pace.epoch(entry.candidate) * entry.epochs
        return _MARGIN * trained

    def can_be_fresh(self, entry: Entry) -> bool:
        """Whether there is time now to train it from the beginning."""
        return self.fixed() + self.fresh(entry) < self.left

    def needs(self, entry: Entry, done: int | None = None) -> float:
        """What has to be left if it wins: a fresh run, or where that takes too much of the budget the rest of its
        trial, of which `done` epochs are done (None: as it is now)."""
        fresh = self.fresh(entry)
        if fresh <= SHARE_FOR_FRESH * self.budget:
            return self.fixed() + fresh
        if done is None:
            done = entry.epochs if entry.state == "complete" else entry.last.epoch if entry.last else 0
        return self.fixed() + _MARGIN * (entry.epochs - done) * self.pace.epoch(entry.candidate)

    def epochs(self, candidate: Candidate, most: int) -> int:
        """How many epochs it gets; 0 where there is no time for one."""
        if candidate.is_closed:
            return 1
        return epochs_that_fit(candidate, self.pace, most, self.budget, self.fixed())

    def allows_new(self, candidate: Candidate, first_epochs: int, hopeful: Iterable[Entry]) -> bool:
        """Whether a new one can do its first rung, and any of the hopeful ones can still win after that."""
        took = 0.0 if candidate.is_closed else self.pace.epoch(candidate) * first_epochs
        reserve = max((self.needs(one) for one in hopeful), default=0.0)
        return self.left > self.pace.overhead + took + reserve

    def allows_more(self, entry: Entry, rung: int, ladder: Ladder) -> bool:
        """Whether it can be brought to `rung`, and win after that."""
        target = ladder.epochs(rung, entry.epochs)
        more = target - (entry.last.epoch if entry.last else 0)
        return self.left > self.pace.overhead / 2 + self.pace.epoch(entry.candidate) * more + self.needs(entry, target)
