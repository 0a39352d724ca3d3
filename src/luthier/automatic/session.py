"""One sitting of an automatic run: the first model, the candidates by the clock, the winner's last run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from luthier.automatic.baseline import tfidf_value
from luthier.automatic.ending import Ending, baselines_for, end, last_recipe, nothing, unproved
from luthier.automatic.entry import Entry, begun, hopeful, reached, read_entries
from luthier.automatic.folder import AutoFolder
from luthier.automatic.plan import Request, common, epochs_wanted, recipe_of
from luthier.automatic.telling import line, row
from luthier.automatic.timing import OPENING, Timing
from luthier.automatic.usable import PassOn, Usable
from luthier.automatic.watch import TIME_OVER, Watch
from luthier.core import clock
from luthier.core.alarm import TimeIsUp
from luthier.core.errors import Interrupted, LuthierError, StorageError
from luthier.core.events import Event, Listener
from luthier.core.recipe import Recipe
from luthier.core.rundir import UNTRAINED
from luthier.evaluate.metric_names import metric_name
from luthier.evaluate.report import told
from luthier.search.candidates import HURRIED, HURRY, USUAL, Candidate, Facts, candidates, first_of, neighbours, next_of
from luthier.search.choosing import Pace, Result, best_of, epochs_alone, first_bracket, next_move
from luthier.search.halving import TOP, Ladder, Promote
from luthier.searching.clockwork import Clockwork
from luthier.searching.workbench import Rung, TrialRun, Workbench

MakeBench = Callable[[Recipe, Listener], Workbench]
_WORDS = 0.25
"""Of the budget that has to be left for the linear model on word counts, whose time nothing tells beforehand."""
_MOST = 40
"""Candidates."""
_LADDER = Ladder(reduction=3)


class Session:
    """Works on one folder until the budget is used or nothing is left to try.

    Attributes:
        entries: the candidates that were begun.
        baseline: what the linear model on word counts reaches; None where there is none, or no time for it.
        notes: what people should know besides.
    """

    def __init__(
        self, folder: AutoFolder, request: Request, listener: Listener, make_bench: MakeBench, clockwork: Clockwork,
        pass_on: PassOn, start: float = 0.0,
    ) -> None:  # fmt: skip
        """`start`: seconds from the start of this process until now."""
        self.folder, self.request, self.listener = folder, request, listener
        lines = list(folder.journal())
        self.clockwork = clockwork
        self.watch = Watch(listener, clockwork)
        self.entries = read_entries(lines)
        self.usable = Usable(folder, clockwork, listener, pass_on, lines)
        self.baseline: float | None = next((line["value"] for line in lines if line["kind"] == "baseline"), None)
        self.notes: list[str] = []
        self.ending: Ending | None = None
        self.winner: Entry | None = None
        began = clock.monotonic()
        self.shared, _ = common(request)
        self.bench = make_bench(self.shared, self.watch)
        self.prepared = self.bench.prepared(self.shared)
        self.metric, self.higher = self.bench.metric, self.bench.higher_is_better
        assert self.prepared.validation is not None
        self.rows, self.judging_rows = len(self.prepared.train), len(self.prepared.validation)
        self.tests = 0 if self.prepared.test is None else len(self.prepared.test)
        self.facts = Facts(self.prepared.task, self.rows, len(self.prepared.labels), self.prepared.several_labels)
        self.timing = Timing(
            self.clockwork, request.budget, learned=self.rows, compared=self.judging_rows, judged=self.tests
        )
        self.timing.reading = clock.monotonic() - began
        self.timing.outside = self.usable.outside
        self.timing.start = start + self.timing.reading

    def run(self, draft: Callable[[], object]) -> None:
        """Everything, in order. `draft` makes the pages, as they are with the first model: that tells how long they
        take on this machine."""
        self.tell_known()
        counts = f"{self.rows:,} rows to learn, {self.judging_rows:,} to compare on"
        budget = f"{self.request.budget:.0f} s, {self.clockwork.left:.0f} of them left"
        self.listener(Event("message", f"{self.prepared.task}: {counts}. Budget {budget}."))
        self._first()
        began = clock.monotonic()
        draft()
        self.timing.draft = clock.monotonic() - began
        if self.baseline is None and not self.facts.writes and self.timing.left > _WORDS * self.request.budget:
            self._baseline()
        self._climb()
        self.winner = self.best
        if self.winner is None:
            raise nothing(self.folder)
        self._publish(self.winner, at_once=True)
        self._end(self.winner)

    def _first(self) -> None:
        """The frozen base with a linear head, of many rows on a few; where texts are written, the base itself until
        something beats it."""
        first = first_of(self.facts)
        entry = self.entries[0] if self.entries else self._begin(first, 0, self._wanted(first))
        if not self.facts.writes and not entry.rungs:
            self._climb_one(entry, entry.first_rung(_LADDER))
            if entry.last is None:
                raise nothing(self.folder, entry.error)
        trial = self.bench.open(self._recipe(entry), self._path(entry))
        if self.usable.line is None and self.facts.writes:
            self._put(UNTRAINED, -1, 0, trial)
        elif self.usable.line is None:
            self._publish(entry, at_once=True, trial=trial)
        elif self.timing.may_prove():
            trial.advance(1)  # it answers from its folder, and can be timed
        else:
            return
        self.timing.pace = Pace(trial.forward_seconds() * self.rows, OPENING)
        more = next_of(self.facts, entry.candidate, self.timing.rows_that_fit())
        if more is not None and len(self.entries) == 1:
            entry = self._begin(more, 0, 1)
            self._climb_one(entry, entry.first_rung(_LADDER), is_first=True)
        self.timing.is_frozen = any(one.candidate.kind == "linear" and one.rungs for one in self.entries)

    def _baseline(self) -> None:
        found = tfidf_value(self.prepared, self.metric)
        if found is not None:
            self.baseline, self.timing.words = found
            self.folder.note(kind="baseline", value=self.baseline, elapsed=self.clockwork.elapsed)
            text = f"A linear model on word counts: {self.metric} {told(self.metric, self.baseline)}."
            self.listener(Event("message", text))

    # the climb

    def _climb(self) -> None:
        waiting = self._waiting()
        self._alone(waiting)
        bracket = self.entries[1].bracket if len(self.entries) > 1 else self._bracket(waiting)
        passed_over: set[str] = set()
        for entry in self.entries:
            if entry.state == "paused" and not entry.rungs:  # it was stopped in its first epochs
                self._climb_one(entry, entry.first_rung(_LADDER))
        while self.clockwork.left > 0:
            waiting = [one for one in self._waiting() if one.name not in passed_over]
            nearest = waiting[0] if waiting else None
            may_begin = nearest is not None and self._fits_new(nearest, bracket)
            standings = [entry.standing(_LADDER, higher_is_better=self.higher) for entry in self.entries]
            step = next_move(standings, _LADDER, may_begin=may_begin, fits=self._fits)
            if isinstance(step, Promote):
                self._climb_one(self.entries[step.number], step.rung)
            elif nearest is None:
                return
            elif may_begin:
                entry = self._begin(nearest, bracket, self._epochs(nearest))
                self._climb_one(entry, entry.first_rung(_LADDER))
            else:
                passed_over.add(nearest.name)  # another one may be cheaper

    def _alone(self, waiting: list[Candidate]) -> None:
        """Where time is short: the other linear heads, and then the usual recipe as long as time allows."""
        usual = next((one for one in waiting if one.name == USUAL), None)
        if usual is None or len(self.entries) > 1:
            return
        wanted = self._wanted(usual)
        if not epochs_alone(usual, self.timing.pace, wanted, self.clockwork.left - self.timing.fixed()):
            return
        for one in waiting:
            if one.is_closed and self._fits_new(one, 0):
                entry = self._begin(one, 0, 1)
                self._climb_one(entry, entry.first_rung(_LADDER))
        epochs = epochs_alone(usual, self.timing.pace, wanted, self.clockwork.left - self.timing.fixed())
        if not epochs:
            return
        if epochs <= HURRY * wanted and not self.facts.writes:
            usual = next((one for one in waiting if one.name == HURRIED), usual)
        self.listener(Event("message", f"The time is for one training: {usual.name}, {epochs} of {wanted} epochs."))
        entry = self._begin(usual, 0, epochs)
        for epoch in range(1, epochs + 1):  # each ends with a checkpoint, for the case that the next is cut off
            if entry.state == "paused":
                self._climb_one(entry, TOP if epoch == epochs else TOP - 1, epoch=epoch)

    def _waiting(self) -> list[Candidate]:
        """Candidates that were not begun; when all were, the winner with other rates."""
        tried = [entry.candidate.name for entry in self.entries]
        left = [one for one in candidates(self.facts) if one.name not in tried]
        if left or self.best is None:
            return left
        return list(neighbours(self.best.candidate, tried)) if len(tried) < _MOST else []

    def _bracket(self, waiting: list[Candidate]) -> int:
        listed = [(one, self._epochs(one)) for one in waiting]
        seconds = self.clockwork.left - self.timing.fixed()
        return first_bracket(listed, self.timing.pace, _LADDER, seconds)

    def _begin(self, candidate: Candidate, bracket: int, epochs: int) -> Entry:
        entry = Entry(len(self.entries), candidate, max(1, epochs), bracket)
        self.entries.append(entry)
        self.folder.note(**begun(entry))
        return entry

    def _climb_one(self, entry: Entry, rung: int, *, epoch: int = 0, is_first: bool = False) -> None:
        """Train a candidate to the end of a rung, or of an epoch on the way, if time does not end before; `is_first`:
        also that for a proof."""
        began, before, done = clock.monotonic(), entry.seconds, entry.last.epoch if entry.last else 0
        self._tell(entry, "running")
        try:
            with self.watch.leaving(self.timing.while_trying(entry.candidate, is_first=is_first or self.best is None)):
                trial = self.bench.open(self._recipe(entry), self._path(entry))
                result = trial.advance(epoch or _LADDER.epochs(rung, entry.epochs))
        except TimeIsUp:
            self.timing.pace.machine(self.watch.slower)
            entry.state, entry.error = ("complete", "") if entry.rungs else ("failed", TIME_OVER)
        except (Interrupted, StorageError):
            raise
        except LuthierError as error:
            entry.state, entry.error = "failed", str(error)
        else:
            self._note(entry, rung, result)
            pace, took = self.timing.pace, result.seconds - before
            pace.saw(entry.candidate, result.epoch - done, took)
            if not entry.candidate.is_closed:
                pace.opened(max(0.0, clock.monotonic() - began - took))
            if self.best is entry:
                self._publish(entry, trial=trial)
            elif entry.state == "complete":
                trial.rest()
        if entry.state == "failed":
            self.folder.note(kind="failed", number=entry.number, error=entry.error, elapsed=self.clockwork.elapsed)
        self._tell(entry, entry.state)

    def _note(self, entry: Entry, rung: int, result: Rung) -> None:
        elapsed = self.clockwork.elapsed
        entry.reached(rung, result, elapsed)
        self.folder.note(**reached(entry, rung, result, elapsed))

    # time

    def _wanted(self, candidate: Candidate) -> int:
        return 1 if candidate.is_closed else epochs_wanted(recipe_of(self.shared, candidate, self.request), self.rows)

    def _epochs(self, candidate: Candidate) -> int:
        return self.timing.epochs(candidate, self._wanted(candidate))

    def _fits_new(self, candidate: Candidate, bracket: int) -> bool:
        epochs = self._epochs(candidate)
        first = _LADDER.epochs(_LADDER.first(epochs, bracket), epochs) if epochs else 0
        waiting = hopeful(self.best, self.entries, higher_is_better=self.higher)
        return bool(epochs) and self.timing.allows_new(candidate, first, waiting)

    def _fits(self, number: int, rung: int) -> bool:
        return self.timing.allows_more(self.entries[number], rung, _LADDER)

    # the best

    @property
    def best(self) -> Entry | None:
        """The winner so far."""
        results = [Result(one.number, one.last.value, one.last.loss) for one in self.entries if one.last is not None]
        if not results:
            return None
        is_share = metric_name(self.metric).is_share
        found = best_of(results, higher_is_better=self.higher, rows=self.judging_rows, is_share=is_share)
        return self.entries[found.number]

    def _publish(self, entry: Entry, *, at_once: bool = False, trial: TrialRun | None = None) -> None:
        """Put its model where ``luthier predict DIR`` finds it, unless it is there."""
        last = entry.last
        if last is None or self.usable.has(entry.number, last.epoch) or not (at_once or self.usable.is_due):
            return
        trial = trial or self.bench.open(self._recipe(entry), self._path(entry))
        self._put(entry.candidate.name, entry.number, last.epoch, trial)

    def _put(self, name: str, number: int, epoch: int, trial: TrialRun) -> None:
        self.usable.put(name, number, epoch, trial.export)
        self.timing.outside = self.usable.outside

    def _end(self, winner: Entry) -> None:
        """The winner's last run; where time does not allow it, the model of its trial stays."""
        begun_before = self.folder.final.recipe_yaml.is_file()
        epochs = self.timing.fresh_epochs(winner, self._wanted(winner.candidate))
        is_fresh, words = begun_before or epochs > 0, self.baseline is not None
        roomy = self.clockwork.left > 2 * self.timing.needs(winner)
        baselines = baselines_for(self.prepared.task, words=words, roomy=roomy)
        recipe = last_recipe(self.shared, winner, self.request, epochs=epochs if is_fresh else 0, baselines=baselines)
        what = "The winner is trained afresh" if is_fresh else "The winner's trial is brought to its end and proved"
        if not self.timing.may_prove():
            self._ended(winner, unproved(self.folder, winner, recipe, len(self.entries)))
            return
        self.listener(Event("message", f"{what}: {winner.candidate.name}."))
        rest = self.timing.while_proving(winner.candidate)
        ending = end(self.folder, winner, recipe, self.watch, rest, is_fresh=is_fresh, candidates=len(self.entries))
        self._ended(winner, ending)

    def _ended(self, winner: Entry, ending: Ending) -> None:
        self.ending = ending
        self.folder.note(kind="ended", number=winner.number, elapsed=self.clockwork.elapsed)
        self.notes += [ending.note] if ending.note else []

    # small things

    def _recipe(self, entry: Entry) -> Recipe:
        more: dict[str, Any] = {} if entry.candidate.is_closed else {"train.epochs": entry.epochs}
        return recipe_of(self.shared, entry.candidate, self.request, **more, out=str(self.folder.path / "trials"))

    def _path(self, entry: Entry) -> Path:
        return self.folder.trial(entry.number, entry.candidate.name)

    def _tell(self, entry: Entry, state: str) -> None:
        self.listener(Event("trial", line(entry, state, self.metric, self.best), data=self._row(entry, state)))

    def tell_known(self) -> None:
        """Tell of what earlier sittings began: rows of a live table, which are no news."""
        for entry in self.entries:
            self.listener(Event("known", data=self._row(entry, entry.state)))

    def _row(self, entry: Entry, state: str) -> dict[str, Any]:
        more = {"metric": self.metric, "higher_is_better": self.higher, "budget": self.request.budget}
        return {**row(entry, state, self.best, self.usable.number), **more, "elapsed": self.clockwork.elapsed}
