"""The time of an automatic run: what things will take, and what has to be left for the end."""

from __future__ import annotations

from collections.abc import Iterable

from luthier.automatic.entry import Entry
from luthier.automatic.watch import Rest
from luthier.search.candidates import Candidate, linear
from luthier.search.choosing import Pace, epochs_that_fit
from luthier.search.halving import Ladder
from luthier.searching.clockwork import Clockwork

END = 2.0
"""Seconds for auto.json, auto.html and what comes after, or more where a first writing of them took long, or already
the start did: a process that came up slowly goes slowly."""
QUIET_START = 6.0
"""Seconds from the start of the process until the data are read, where nothing else runs."""
OPENING = 1.0
"""Seconds of opening a trial, until one was timed."""
_MOST_FOR_THE_START = 0.1
"""Of the budget, what more is left for the end on the word of a slow start alone, which may have waited for a disk."""
_PAGES = 2.0
"""Seconds for intervals, the report and the model card; as many times more as `END` became."""
_END_IN_DRAFTS = 4.0
"""What the end takes, in first writings of the two pages: it writes them, says so, and the process ends."""
_NEARLY = 0.7
"""Of `Timing.fixed`, which errs to the safe side and is left at most when a training was ended for it."""
_MARGIN = 1.1
_MORE_ROWS = 1.1
"""A fresh run learns some of the rows that candidates were compared on."""


class Timing:
    """Arithmetic over what was timed so far. What was timed once takes as much longer as the machine became slower.

    Attributes:
        start: seconds from the start of the process until the data were read. reading: of that, the data.
        words: that the linear model on word counts took.
        draft: that a first writing of the pages took.
        is_frozen: whether what the frozen base makes of all rows is there.
        outside: that whoever asked for this run will take for what comes after it.
        learned, compared, judged: rows.
    """

    def __init__(self, clockwork: Clockwork, budget: float, *, learned: int, compared: int, judged: int) -> None:
        self.clockwork, self.budget = clockwork, budget
        self.learned, self.compared, self.judged = learned, compared, judged
        self.start = self.reading = self.words = self.draft = self.outside = 0.0
        self.is_frozen = False
        self.pace = Pace(0.0, OPENING)

    @property
    def left(self) -> float:
        """Seconds of the budget."""
        return self.clockwork.left

    def end(self) -> float:
        """Of what comes after the last run."""
        return self.pace.slower * (self._last_words() + self.outside)

    def pages(self) -> float:
        """Of writing what the last run proved, and the end."""
        return self.pace.slower * _PAGES / END * self._last_words() + self.end()

    def _last_words(self) -> float:
        slow_start = min(END * self.start / QUIET_START, _MOST_FOR_THE_START * self.budget)
        return max(END, slow_start, _END_IN_DRAFTS * self.draft)

    def closing(self) -> float:
        """Of what comes after the last training: proof, pages and the end."""
        forward = self.pace.epoch(linear()) / max(1, self.learned)
        proof = (1.5 * (self.judged or self.compared) + self.compared) * forward
        return proof + 1.3 * self.words * self.pace.slower + self.pages()

    def fixed(self) -> float:
        """Of the last run besides its epochs: reading, loading, gates, proof, report; and the end."""
        return self.reading * self.pace.slower + 2 * self.pace.overhead + self.closing()

    def may_prove(self) -> bool:
        """Whether there is time for a last run that trains little or nothing."""
        return self.left > _NEARLY * self.fixed()

    def while_trying(self, candidate: Candidate, *, is_first: bool) -> Rest:
        """What a candidate leaves; the first one, without which there is nothing, leaves less."""
        needed = min(self.end(), 0.6 * self.left) if is_first else self.fixed()
        return Rest(needed, needed, needed, self._known(candidate))

    def while_proving(self, candidate: Candidate) -> Rest:
        """What the last run leaves."""
        return Rest(self.closing(), self.pages(), self.end(), self._known(candidate))

    def _known(self, candidate: Candidate) -> float | None:
        return self.pace.epoch(candidate) if self.pace.knows(candidate) else None

    def fresh(self, entry: Entry) -> float:
        """Of a training of this candidate from the beginning."""
        trained = entry.seconds_of_all
        if trained is None or entry.candidate.is_closed:
            trained = self.pace.epoch(entry.candidate) * entry.epochs
        return _MARGIN * trained

    def fresh_epochs(self, entry: Entry, most: int) -> int:
        """How many epochs a training from the beginning can have now: those of its trial or more, at most `most`; 0
        where there is no time for that."""
        if entry.candidate.is_closed:
            return int(self.needs(entry) < self.left)
        one = _MARGIN * _MORE_ROWS * max(self.pace.epoch(entry.candidate), (entry.seconds_of_all or 0.0) / entry.epochs)
        found = int((self.left - self.fixed()) / max(one, 1e-9))
        return 0 if found < entry.epochs else max(entry.epochs, min(found, most))

    def needs(self, entry: Entry) -> float:
        """What has to be left if it wins, for its fresh run."""
        return self.fixed() + _MORE_ROWS * self.fresh(entry)

    def epochs(self, candidate: Candidate, most: int) -> int:
        """How many epochs it gets; 0 where there is no time for one."""
        if candidate.is_closed:
            return 1
        return epochs_that_fit(candidate, self.pace, most, self.budget, self.fixed())

    def allows_new(self, candidate: Candidate, first_epochs: int, hopeful: Iterable[Entry]) -> bool:
        """Whether a new one can do its first rung, and any of the hopeful ones can still win after that."""
        took = 0.0 if candidate.is_closed and self.is_frozen else self.pace.epoch(candidate) * first_epochs
        reserve = max((self.needs(one) for one in hopeful), default=0.0)
        return self.left > self.pace.overhead + took + reserve

    def rows_that_fit(self) -> int:
        """How many can be learned in one go where there is a model of a few: that comes before the proof of a last
        run."""
        one = self.pace.epoch(linear()) / max(1, self.learned)
        judging = self.compared * one
        return int(max(0.0, self.left - self.pace.overhead - judging - self.end()) / max(_MARGIN * one, 1e-9))

    def allows_more(self, entry: Entry, rung: int, ladder: Ladder) -> bool:
        """Whether it can be brought to `rung`, and win after that."""
        target = ladder.epochs(rung, entry.epochs)
        more = target - (entry.last.epoch if entry.last else 0)
        return self.left > self.pace.overhead / 2 + self.pace.epoch(entry.candidate) * more + self.needs(entry)
