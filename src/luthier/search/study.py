"""A study: trials that are asked for and told, in a journal that several processes share and that survives a crash.

Every decision (which trial goes on, which parameters a new one has) and what it writes are one transaction of the
journal. Whoever works on a trial holds its claim; a trial that is running and whose claim is free was left by a process
that is gone, and is taken up again before anything else. The processes of a crew (`searching.workers`) leave those of
each other alone until who started them has told that one is gone, and whether its trial is to blame (`lost`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

from luthier.core.errors import UsageError
from luthier.core.words import plural
from luthier.search.claims import Claims
from luthier.search.halving import TOP, Begin, Done, Ladder, Promote, Step, Wait, brackets_of, next_step
from luthier.search.journal import Journal
from luthier.search.parameters import Parameter, Scalar
from luthier.search.sampling import check_optuna, objectives_of, quiet, sampler_for, sampler_view, suggested
from luthier.search.settings import TRIALS, SearchSettings
from luthier.search.space import Space
from luthier.search.trial import Result, Trial, key_of

NAME = "luthier"
_RECORD, _FACTS = "trial", "facts"
_ATTEMPTS = 12
"""Suggestions of what was tried before, until the rest of a finite space is taken in order."""
_LIKELY_EPOCHS = 9
"""Of a recipe that leaves them open, before the first trial: how many brackets Hyperband has."""
MOST_DEATHS = 2
"""Processes in a row that may end while they train a trial to a rung; then it has failed."""


@dataclass(frozen=True)
class Task:
    """What to train next: this trial, to this rung of it (its first one where its epochs are not known yet)."""

    trial: Trial
    why: Literal["new", "promoted", "taken up"]


class _SeenBefore(Exception):
    """A suggestion that is a trial already."""


class Study:
    """Ask with `next`, tell with `report` or `fail`."""

    def __init__(self, journal: Journal, space: Space, settings: SearchSettings, holder: str = "") -> None:
        """`holder`: who asks, as ``<crew>/<name>``; empty for a process that nobody looks after.

        Raises UsageError: Optuna is missing (`missing_package`), or no grid can cover the space (`no_grid`).
        """
        check_optuna()
        self.space, self.settings = space, settings
        self.ladder = Ladder(settings.reduction, settings.with_rungs)
        self.grid = space.grid() if settings.sampler == "grid" or space.is_small else None
        self._journal, self._holder = journal, holder
        self._storage: Any = None
        self._id = 0

    @property
    def most_trials(self) -> int:
        """How many trials there will be at most."""
        asked = self.settings.trials
        if self.grid is None:
            return asked or TRIALS
        return min(len(self.grid), asked or (len(self.grid) if self.settings.sampler == "grid" else TRIALS))

    def begin(self, metric: str, *, higher_is_better: bool) -> None:
        """Make the study, or find it; the same metric in both."""
        with self._transaction():
            facts = self._facts()
            if not facts:
                from optuna.study import StudyDirection

                best = StudyDirection.MAXIMIZE if higher_is_better else StudyDirection.MINIMIZE
                least = StudyDirection.MINIMIZE
                directions = [best if name == "quality" else least for name in self.settings.objectives]
                self._id = self._storage.create_new_study(directions, NAME)
                facts = {"metric": metric, "higher_is_better": higher_is_better}
                self._storage.set_study_user_attr(self._id, _FACTS, facts)
        if facts["metric"] != metric:
            raise UsageError(
                f"this search was measured by {facts['metric']}, and the data now give {metric}.",
                remedy="Begin a new search: the data have changed.", code="search_differs",
            )  # fmt: skip

    @property
    def is_begun(self) -> bool:
        """Whether `begin` was called, here or by another process."""
        with self._reading():
            return bool(self._facts())

    @property
    def metric(self) -> str:
        """The validation metric."""
        with self._reading():
            return str(self._facts()["metric"])

    @property
    def higher_is_better(self) -> bool:
        """Of the metric."""
        with self._reading():
            return bool(self._facts()["higher_is_better"])

    def trials(self) -> list[Trial]:
        """All trials, in the order in which they began."""
        with self._reading():
            return self._trials()

    def is_over(self, *, may_begin: bool = True, may_promote: bool = True) -> bool:
        """Whether nothing is left to train."""
        with self._reading():
            trials = self._trials()
            if not trials or (may_promote and any(trial.state == "running" for trial in trials)):
                return False
            return isinstance(self._step(trials, may_begin, may_promote), Done | Wait)

    def next(
        self, claims: Claims, *, tell: Callable[[], object] | None = None, may_begin: bool = True,
        may_promote: bool = True,
    ) -> Task | Wait | None:  # fmt: skip
        """What this process should train now; `Wait` while others decide it, None when the search is over.

        `tell` reports what was trained before, in the same transaction: one write to the disk for both.
        """
        for attempt in range(_ATTEMPTS + 1):
            try:
                with self._transaction():
                    if tell is not None:
                        tell()
                    return self._next(claims, attempt, may_begin, may_promote)
            except _SeenBefore:
                continue
        return None

    def report(
        self, trial: Trial, rung: int, result: Result, *, epochs: int, parameters: int, stopped_early: bool = False,
        curve: Sequence[tuple[int, float]] = (), forgetting: float | None = None,
    ) -> Trial:  # fmt: skip
        """Tell what a trial reached at a rung; the top one, and stopping early, complete it."""
        with self._transaction():
            known = self._trials()[trial.number]
            if known.state in ("complete", "failed") or rung in known.results:
                return known  # told before by a process that was taken for dead
            is_complete = rung == TOP or stopped_early
            told = replace(
                known, state="complete" if is_complete else "paused", rung=rung, epochs=epochs, parameters=parameters,
                results={**known.results, rung: result}, stopped_early=stopped_early, curve=tuple(curve),
                forgetting=forgetting, holder="", deaths=0,
            )  # fmt: skip
            if is_complete:
                told = replace(told, values=tuple(objectives_of(told, self.settings.objectives) or ()))
            self._storage.set_trial_intermediate_value(self._place(trial.number), rung, result.value)
            self._keep(told)
            if is_complete:
                self._study().tell(trial.number, list(told.values))
            return told

    def fail(self, trial: Trial, error: str, code: str, *, epochs: int = 0) -> Trial:
        """Tell that a trial failed on the way to its rung: it diverged, or its recipe does not fit these data."""
        from optuna.trial import TrialState

        with self._transaction():
            known = self._trials()[trial.number]
            if known.state in ("complete", "failed"):
                return known
            epochs = epochs or known.epochs
            likely = epochs or self._likely_epochs(self._trials())
            rung = known.rung if known.results else self.ladder.first(likely, known.bracket)
            told = replace(known, state="failed", error=error, code=code, rung=rung, epochs=epochs, holder="")
            self._keep(told)
            self._study().tell(trial.number, state=TrialState.FAIL)
            return told

    def lost(self, holder: str, why: str = "") -> Trial | None:
        """Tell that the process `holder` is gone, so that others take up what it trained: gives that trial, if any.

        `why` (``was killed by signal 9``) is how its trial ended it: with `MOST_DEATHS` of them the trial has failed.
        """
        with self._transaction():
            held = next((trial for trial in self._trials() if trial.is_held_by(holder)), None)
            if held is None:
                return None
            trial = replace(held, holder="", deaths=held.deaths + bool(why))
            self._keep(trial)
            if trial.deaths < MOST_DEATHS:
                return trial
            what = f"{plural(trial.deaths, 'worker')} ended while they trained it: the last one {why}."
            return self.fail(trial, what, "worker_died")

    def _next(self, claims: Claims, attempt: int, may_begin: bool, may_promote: bool) -> Task | Wait | None:
        trials = self._trials()
        running = [trial for trial in trials if trial.state == "running"]
        left = [trial for trial in running if not self._is_of_a_mate(trial) and claims.take(trial.number)]
        for trial in left[1 if may_promote else 0 :]:
            claims.release(trial.number)
        if may_promote and left:
            if left[0].holder != self._holder:
                self._keep(replace(left[0], holder=self._holder))
            return Task(left[0], "taken up")
        step = self._step(trials, may_begin, may_promote)
        if isinstance(step, Promote):
            if not claims.take(step.number):
                return Wait()  # its last worker has told its result and not let go of it yet
            trial = replace(trials[step.number], state="running", rung=step.rung, holder=self._holder)
            self._keep(trial)
            return Task(trial, "promoted")
        if isinstance(step, Begin):
            return self._ask(trials, step.bracket, attempt, claims)
        # Without time to go on with them, nobody waits for trials that were left.
        return step if isinstance(step, Wait) and len(running) > len(left) else None

    def _step(self, trials: Sequence[Trial], may_begin: bool, may_promote: bool) -> Step:
        may_begin = may_begin and may_promote and len(trials) < self.most_trials
        brackets = brackets_of(self.ladder, self._likely_epochs(trials), hyperband=self.settings.pruner == "hyperband")
        sign = 1.0 if self._facts()["higher_is_better"] else -1.0
        return next_step(
            [trial.standing(sign) for trial in trials], self.ladder, brackets=brackets, may_begin=may_begin,
            may_promote=may_promote, eager=True,
        )  # fmt: skip

    def _is_of_a_mate(self, trial: Trial) -> bool:
        """Whether another process of our crew has it, and nobody has told that it is gone."""
        crew, _, _ = self._holder.rpartition("/")
        return bool(crew) and trial.holder != self._holder and trial.holder.startswith(f"{crew}/")

    def _ask(self, trials: Sequence[Trial], bracket: int, attempt: int, claims: Claims) -> Task:
        """A new trial, with parameters that no other has."""
        seen = {trial.key for trial in trials}
        number = len(trials)
        sampler = sampler_for(self.settings, number, attempt, conditional=self.space.is_conditional)
        study = self._study(sampler)
        if self.grid is not None and (self.settings.sampler == "grid" or attempt == _ATTEMPTS):
            rest = [params for params in self.grid if key_of(params) not in seen]
            study.enqueue_trial(rest[0])
        asked = study.ask()
        params: dict[str, Scalar] = {}

        def suggest(parameter: Parameter) -> Scalar:
            params[parameter.name] = suggested(asked, parameter)
            return params[parameter.name]

        self.space.values(suggest)
        if key_of(params) in seen:
            raise _SeenBefore
        trial = Trial(number, params, bracket=bracket, holder=self._holder)
        self._keep(trial)
        if not claims.take(number):
            raise UsageError(
                f"somebody holds the claim of trial {number}, which does not exist yet.",
                remedy="Remove the folder `locks` of this search when nobody works on it.", code="search_differs",
            )  # fmt: skip
        return Task(trial, "new")

    def _likely_epochs(self, trials: Sequence[Trial]) -> int:
        known = [trial.epochs for trial in trials if trial.epochs]
        written = self.space.first().train.epochs
        return known[0] if known else written if isinstance(written, int) else _LIKELY_EPOCHS

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with quiet():
            self._open()
            with self._storage.backend.transaction():
                self._find()
                yield

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with quiet():
            self._open()
            self._find()
            yield

    def _open(self) -> None:
        if self._storage is None or self._storage.backend.is_stale:
            from luthier.search.optuna_storage import JournalBackend, StudyStorage

            view = sampler_view(self.settings, _trial_of)
            self._storage = StudyStorage(JournalBackend(self._journal), view)

    def _find(self) -> None:
        found = self._storage.get_all_studies()
        self._id = found[0]._study_id if found else -1

    def _facts(self) -> dict[str, Any]:
        if self._id < 0:
            return {}
        facts: dict[str, Any] = self._storage.get_study_user_attrs(self._id).get(_FACTS, {})
        return facts

    def _study(self, sampler: Any = None) -> Any:
        import optuna

        sampler = sampler or optuna.samplers.RandomSampler()
        return optuna.load_study(study_name=NAME, storage=self._storage, sampler=sampler)

    def _trials(self) -> list[Trial]:
        if self._id < 0:
            return []
        found = [_trial_of(frozen) for frozen in self._storage.as_kept(self._id)]
        return [trial for trial in found if trial is not None]

    def _keep(self, trial: Trial) -> None:
        self._storage.set_trial_user_attr(self._place(trial.number), _RECORD, trial.to_record())

    def _place(self, number: int) -> int:
        place: int = self._storage.get_trial_id_from_study_id_trial_number(self._id, number)
        return place


def _trial_of(frozen: Any) -> Trial | None:
    record = frozen.user_attrs.get(_RECORD)
    return None if record is None else Trial.from_record(frozen.number, frozen.params, record)
