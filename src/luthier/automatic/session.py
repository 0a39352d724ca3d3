"""One sitting of an automatic run: the first model, the candidates by the clock, the winner's fresh run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from luthier import api
from luthier.automatic.baseline import tfidf_value
from luthier.automatic.entry import Entry, begun, reached, read_entries
from luthier.automatic.folder import AutoFolder
from luthier.automatic.plan import Request, common, epochs_wanted, recipe_of
from luthier.automatic.watch import TimeIsUp, Watch
from luthier.core import clock, durable
from luthier.core.errors import DataError, Interrupted, LuthierError, StorageError
from luthier.core.events import Event, Listener
from luthier.core.recipe import LANGUAGE_TASKS, Recipe
from luthier.evaluate.metric_names import metric_name
from luthier.evaluate.report import told
from luthier.search.candidates import Candidate, Facts, candidates, linear, neighbours
from luthier.search.choosing import Pace, Result, best_of, epochs_that_fit, first_bracket, next_move
from luthier.search.halving import Ladder, Promote
from luthier.searching.clockwork import Clockwork
from luthier.searching.workbench import Rung, TrialRun, Workbench

MakeBench = Callable[[Recipe, Listener], Workbench]
_END = 2.0
"""Seconds for auto.json, auto.html and what comes after."""
_PUBLISH_EVERY = 8.0
"""Seconds between two models that are written; a better one in between is written at the end of the climb."""
_LADDER = Ladder(reduction=3)


class Session:
    """Works on one folder until the budget is used or nothing is left to try.

    Attributes:
        entries: the candidates that were begun.
        notes: what people should know besides.
    """

    def __init__(self, folder: AutoFolder, request: Request, listener: Listener, make_bench: MakeBench) -> None:
        self.folder, self.request, self.listener = folder, request, listener
        lines = list(folder.journal())
        self.clockwork = Clockwork(request.budget, max((line.get("elapsed", 0.0) for line in lines), default=0.0))
        self.watch = Watch(listener)
        self.entries = read_entries(lines)
        self.published = next((line for line in reversed(lines) if line["kind"] == "published"), None)
        self.baseline: tuple[float, float] | None = None
        self.notes: list[str] = []
        self.fresh: api.Run | None = None
        self.winner: Entry | None = None
        began = clock.monotonic()
        self.shared, self.all_rows = common(request)
        self.bench = make_bench(self.shared, self.watch)
        self.prepared = self.bench.prepared(self.shared)
        self.reading = clock.monotonic() - began
        self.metric, self.higher = self.bench.metric, self.bench.higher_is_better
        self.rows = len(self.prepared.train)
        assert self.prepared.validation is not None
        self.judging_rows = len(self.prepared.validation)
        self.facts = Facts(self.prepared.task, self.rows, len(self.prepared.labels), self.prepared.several_labels)
        self.pace = Pace(unit=0.0, overhead=0.0)
        self.tests = 0 if self.prepared.test is None else len(self.prepared.test)
        self._published_at = float("-inf")
        self._published: int | None = None

    def run(self) -> None:
        """Everything, in order."""
        counts = f"{self.rows:,} rows to learn, {self.judging_rows:,} to compare on"
        budget = f"{self.request.budget:.0f} s, {self.clockwork.left:.0f} of them left"
        self.listener(Event("message", f"{self.prepared.task}: {counts}. Budget {budget}."))
        self._first()
        if self.prepared.task not in LANGUAGE_TASKS and self.clockwork.left > 0.7 * self.request.budget:
            self._baseline()
        self._climb()
        self.winner = self.best
        if self.winner is None:
            raise DataError(
                "the budget was used up before there was a first model.", where=str(self.folder.path),
                remedy="Give more time (--budget), or fewer rows.", code="budget_too_small",
            )  # fmt: skip
        self._publish(self.winner, at_once=True)
        self._final(self.winner)

    # the first model

    def _first(self) -> None:
        """The frozen base with a linear head; where texts are written, the base itself until something beats it."""
        began = clock.monotonic()
        if self.prepared.task in LANGUAGE_TASKS:
            entry = self.entries[0] if self.entries else self._begin(candidates(self.facts)[0], bracket=0, first=True)
            with self._patience():
                trial = self.bench.open(self._recipe(entry), self._path(entry))
                if self.published is None:
                    self.folder.publish("base", trial.export)
                    self.folder.note(kind="published", number=-1, elapsed=self.clockwork.elapsed)
            self.pace.overhead = clock.monotonic() - began
            return
        entry = self.entries[0] if self.entries else self._begin(linear(), bracket=0, first=True)
        self._climb_one(entry, _LADDER.first(1, 0))
        self._publish(entry, at_once=True)
        took = clock.monotonic() - began
        self.pace = Pace(took / (self.rows + self.judging_rows) * self.rows, max(0.3, 0.15 * took))

    def _baseline(self) -> None:
        self.baseline = tfidf_value(self.prepared, self.metric)
        if self.baseline is not None:
            text = f"A linear model on word counts: {self.metric} {told(self.metric, self.baseline[0])}."
            self.listener(Event("message", text))

    # the climb

    def _climb(self) -> None:
        waiting = self._waiting()
        bracket = self.entries[1].bracket if len(self.entries) > 1 else self._bracket(waiting)
        while self.clockwork.left > 0:
            nearest = waiting[0] if waiting else None
            may_begin = nearest is not None and self._fits_new(nearest, bracket)
            standings = [entry.standing(_LADDER, higher_is_better=self.higher) for entry in self.entries]
            step = next_move(standings, _LADDER, may_begin=may_begin, fits=self._fits)
            if isinstance(step, Promote):
                self._climb_one(self.entries[step.number], step.rung)
            elif nearest is not None and may_begin:
                entry = self._begin(nearest, bracket)
                self._climb_one(entry, entry.first_rung(_LADDER))
            elif nearest is not None:
                waiting.pop(0)  # another one may be cheaper
                continue
            else:
                return
            waiting = self._waiting()

    def _waiting(self) -> list[Candidate]:
        """Candidates that were not begun; when all were, the winner with other rates."""
        tried = [entry.candidate.name for entry in self.entries]
        left = [one for one in candidates(self.facts) if one.name not in tried]
        if left or self.best is None:
            return left
        return list(neighbours(self.best.candidate, tried))[:1] if len(tried) < 30 else []

    def _bracket(self, waiting: list[Candidate]) -> int:
        listed = [(one, self._epochs(one)) for one in waiting]
        fixed = self._fixed()
        return first_bracket(listed, self.pace, _LADDER, self.clockwork.left - fixed)

    def _begin(self, candidate: Candidate, bracket: int, *, first: bool = False) -> Entry:
        epochs = 1 if candidate.is_closed else self._epochs(candidate) if not first else self._wanted(candidate)
        entry = Entry(len(self.entries), candidate, max(1, epochs), bracket)
        self.entries.append(entry)
        self.folder.note(**begun(entry))
        return entry

    def _climb_one(self, entry: Entry, rung: int) -> None:
        """Train a candidate to the end of a rung, if time does not end before."""
        epochs = _LADDER.epochs(rung, entry.epochs)
        before, began = entry.seconds, clock.monotonic()
        self._tell(entry, "running")
        try:
            with self._patience():
                trial = self.bench.open(self._recipe(entry), self._path(entry))
                result = trial.advance(epochs)
        except TimeIsUp:
            entry.state = "complete" if entry.rungs else "failed"
            entry.error = "" if entry.rungs else "its time was over"
        except (Interrupted, StorageError):
            raise
        except LuthierError as error:
            entry.state, entry.error = "failed", str(error)
        else:
            self._note(entry, rung, result)
            done = result.epoch - (0 if before == 0 else self._epoch_before(entry, rung))
            self.pace.saw(entry.candidate, done, result.seconds - before)
            if not entry.candidate.is_closed:
                self.pace.opened(max(0.0, clock.monotonic() - began - (result.seconds - before)))
            if self.best is entry:
                self._publish(entry, trial=trial)
            elif entry.state == "complete":
                trial.rest()
        if entry.state == "failed":
            self.folder.note(kind="failed", number=entry.number, error=entry.error, elapsed=self.clockwork.elapsed)
        self._tell(entry, entry.state)

    def _epoch_before(self, entry: Entry, rung: int) -> int:
        below = [one.epoch for key, one in entry.rungs.items() if key < rung]
        return max(below, default=0)

    def _note(self, entry: Entry, rung: int, result: Rung) -> None:
        elapsed = self.clockwork.elapsed
        entry.reached(rung, result, elapsed)
        self.folder.note(**reached(entry, rung, result, elapsed))

    # time

    @contextmanager
    def _patience(self) -> Iterator[None]:
        """Whoever trains inside is ended when only the time for the winner's fresh run is left."""
        reserve = 0.0 if self.best is None else self._final_seconds(self.best)
        left = self.clockwork.left
        self.watch.deadline = clock.monotonic() + max(0.0, left - min(reserve, 0.6 * left))
        try:
            yield
        finally:
            self.watch.deadline = float("inf")

    def _fixed(self) -> float:
        """Seconds of the fresh run besides its epochs: reading, loading, gates, proof, report; and the end."""
        forward = self.pace.epoch(linear()) / max(1, self.rows)
        judged = (self.tests or self.judging_rows) * 1.5 * forward + (self.judging_rows * forward)
        words = 1.3 * self.baseline[1] if self.baseline is not None else 0.0
        return self.reading + 2 * self.pace.overhead + judged + words + 2.0 + _END

    def _final_seconds(self, entry: Entry) -> float:
        trained = entry.seconds_of_all
        if trained is None or entry.candidate.is_closed:
            trained = self.pace.epoch(entry.candidate) * entry.epochs
        return self._fixed() + 1.15 * trained

    def _wanted(self, candidate: Candidate) -> int:
        return epochs_wanted(recipe_of(self.shared, candidate, self.request), self.rows)

    def _epochs(self, candidate: Candidate) -> int:
        if candidate.is_closed:
            return 1
        return epochs_that_fit(candidate, self.pace, self._wanted(candidate), self.request.budget, self._fixed())

    def _fits_new(self, candidate: Candidate, bracket: int) -> bool:
        """Whether there is time for its first rung, and after it for the fresh run of the best so far."""
        epochs = self._epochs(candidate)
        if not epochs:
            return False
        first = _LADDER.epochs(_LADDER.first(epochs, bracket), epochs)
        took = 0.0 if candidate.is_closed else self.pace.epoch(candidate) * first
        return self.clockwork.left > self.pace.overhead + took + self._reserve()

    def _fits(self, number: int, rung: int) -> bool:
        entry = self.entries[number]
        done = entry.last.epoch if entry.last else 0
        more = _LADDER.epochs(rung, entry.epochs) - done
        cost = self.pace.overhead / 2 + self.pace.epoch(entry.candidate) * more
        return self.clockwork.left > cost + max(self._reserve(), self._final_seconds(entry))

    def _reserve(self) -> float:
        return 0.0 if self.best is None else self._final_seconds(self.best)

    # the best

    @property
    def best(self) -> Entry | None:
        """The winner so far."""
        results = [
            Result(entry.number, entry.last.value, entry.last.loss) for entry in self.entries if entry.last is not None
        ]
        if not results:
            return None
        is_share = metric_name(self.metric).is_share
        found = best_of(results, higher_is_better=self.higher, rows=self.judging_rows, is_share=is_share)
        return self.entries[found.number]

    def _publish(self, entry: Entry, *, at_once: bool = False, trial: TrialRun | None = None) -> None:
        """Put its model where ``luthier predict DIR`` finds it."""
        now, last = clock.monotonic(), entry.last
        if last is None or (self._published == entry.number and not at_once and trial is None):
            return
        known = self.published
        if known is not None and (known["number"], known.get("epoch")) == (entry.number, last.epoch):
            return
        if not at_once and now - self._published_at < _PUBLISH_EVERY:
            return
        trial = trial or self.bench.open(self._recipe(entry), self._path(entry))
        self.folder.publish(entry.candidate.name, trial.export)
        self.published = {"kind": "published", "number": entry.number, "epoch": last.epoch,
                          "elapsed": self.clockwork.elapsed}  # fmt: skip
        self.folder.note(**self.published)
        self._published, self._published_at = entry.number, clock.monotonic()

    # the end

    def _final(self, winner: Entry) -> None:
        """The winner's fresh run; where time does not allow it, the model of its trial stays."""
        recipe = self.final_recipe(winner)
        head = f"# Chosen by luthier auto from {len(self.entries)} candidates: {winner.candidate.name}.\n"
        durable.write_text(self.folder.recipe, head + recipe.to_yaml())
        run = self.folder.final
        self.listener(Event("message", f"Fresh run of the winner: {winner.candidate.name}."))
        self.watch.deadline = clock.monotonic() + self.clockwork.left - _END
        try:
            if run.report_json.is_file():
                self.fresh = api.Run(run.path, run.report() or {}, 0.0)
            elif run.recipe_yaml.is_file():
                self.fresh = api.resume(run.path, listener=self.watch)
            else:
                durable.make_folder(run.path)
                self.fresh = api.train(recipe, run=run, listener=self.watch)
        except TimeIsUp:
            self.notes.append("The fresh run did not end within the budget: the model is that of the winner's trial.")
        except (Interrupted, StorageError):
            raise
        except LuthierError as error:
            self.notes.append(f"The fresh run failed: {error} The model is that of the winner's trial.")
        finally:
            self.watch.deadline = float("inf")
        if self.fresh is not None:
            self.folder.point(run.model, winner.candidate.name)
            self.folder.note(kind="final", number=winner.number, elapsed=self.clockwork.elapsed)
            durable.remove_tree(self.folder.path / "best")

    def final_recipe(self, winner: Entry) -> Recipe:
        """The winner as `luthier train` runs it: with fewer validation rows than the comparison needed, and the
        baselines that time allows."""
        more: dict[str, Any] = {"out": "runs"}
        if not winner.candidate.is_closed:
            more["train.epochs"] = winner.epochs
        share = self.shared.data.validation
        if isinstance(share, float) and self.request.validation is None:
            more["data.validation"] = min(share, 0.1)
        if self.prepared.task in LANGUAGE_TASKS:
            more["evaluate.baselines"] = ["base"] if self.clockwork.left > 2 * self._final_seconds(winner) else []
        else:
            more["evaluate.baselines"] = ["majority", *(["tfidf"] if self.baseline is not None else [])]
        return recipe_of(self.shared, winner.candidate, self.request, **more)

    # small things

    def _recipe(self, entry: Entry) -> Recipe:
        more = {} if entry.candidate.is_closed else {"train.epochs": entry.epochs}
        return recipe_of(self.shared, entry.candidate, self.request, **more, out=str(self.folder.path / "trials"))

    def _path(self, entry: Entry) -> Path:
        return self.folder.trial(entry.number, entry.candidate.name)

    def _tell(self, entry: Entry, state: str) -> None:
        last, best = entry.last, self.best
        value = told(self.metric, last.value) if last else ""
        text = {
            "running": "", "failed": f"{entry.candidate.name} failed: {entry.error}",
        }.get(state, f"{entry.candidate.name}: {self.metric} {value} after epoch {last.epoch if last else 0} of "
                     f"{entry.epochs}{', the best so far' if best is entry else ''}")  # fmt: skip
        self.listener(
            Event("trial", text, data={
                "number": entry.number, "name": entry.candidate.name, "state": state, "epochs": entry.epochs,
                "epoch": last.epoch if last else 0, "value": last.value if last else None, "metric": self.metric,
                "seconds": entry.seconds, "error": entry.error, "best": best.number if best else None,
                "elapsed": self.clockwork.elapsed, "budget": self.request.budget,
                "higher_is_better": self.higher,
            })
        )  # fmt: skip
