"""Trains trials, one after another, until the search is over: in the process of the search, or as one of its workers.

python -m luthier.searching.worker FOLDER --parent PID [--holder NAME] [--spent SECONDS]
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from luthier.core import clock
from luthier.core.errors import DataError, Interrupted, LuthierError, StorageError
from luthier.core.events import Event, Listener, ignore
from luthier.core.recipe import Recipe
from luthier.core.recipe_io import read_yaml
from luthier.core.rundir import RunDir
from luthier.search.halving import TOP, Wait
from luthier.search.journal_pipe import PipedJournal
from luthier.search.study import Study, Task
from luthier.search.trial import Result, Trial
from luthier.searching.clockwork import Clockwork
from luthier.searching.folder import FolderClaims, SearchFolder

_LOOK_SECONDS = 0.2
"""Between two looks at the journal while others decide what is next."""
_ALIVE_SECONDS = 2.0
_HOPELESS = 3
"""Trials that fail before any has a result, after which the search stops: the next would fail alike."""
SAID_WHY, STOPPED = 3, 75
"""Exit codes of a worker: it ended with an error that it named, or because it was asked to; 1 is Python's own, for what
nobody foresaw."""


class BenchRun(Protocol):
    """A trial on a bench."""

    def advance(self, epochs: int) -> Any:
        """Train to the end of this epoch; what is known then (`workbench.Rung`)."""


class Bench(Protocol):
    """What trials run on (`workbench.Workbench`)."""

    metric: str
    higher_is_better: bool

    def open(self, recipe: Recipe, folder: Path) -> BenchRun:
        """A new trial, or one that was begun."""


Forgetting = Callable[[RunDir], float]


class Worker:
    """Asks the study, trains on the bench, tells the study."""

    def __init__(
        self, bench: Bench, study: Study, folder: SearchFolder, claims: FolderClaims, clockwork: Clockwork,
        listener: Listener = ignore, forgetting: Forgetting | None = None,
    ) -> None:  # fmt: skip
        self._bench, self._study, self._folder, self._claims = bench, study, folder, claims
        self._clockwork, self._listener, self._forgetting = clockwork, listener, forgetting

    def run(self) -> None:
        """Train until nothing is left to do.

        Raises:
            Interrupted: after a signal, with everything saved.
            LuthierError: the first trials all failed, or the disk is full.
        """
        self._study.begin(self._bench.metric, higher_is_better=self._bench.higher_is_better)
        tell: Callable[[], object] | None = None
        before: Trial | None = None
        while True:
            may_begin, may_promote = self._clockwork.allows(self._study.trials(), self._study.settings.repeat)
            task = self._study.next(self._claims, tell=tell, may_begin=may_begin, may_promote=may_promote)
            if before is not None and not (isinstance(task, Task) and task.trial.number == before.number):
                self._claims.release(before.number)
            if tell is not None:
                self._listener(Event("told"))
            tell = before = None
            if task is None:
                return
            if isinstance(task, Wait):
                clock.sleep(_LOOK_SECONDS)
                continue
            before = task.trial
            tell = self._train(task)

    def _train(self, task: Task) -> Callable[[], object]:
        """Train a trial to its rung; what is to be told of it."""
        trial, study, epochs = task.trial, self._study, task.trial.epochs
        self._listener(Event("begun"))
        try:
            recipe = study.space.of(trial.params)
            run = self._bench.open(recipe, self._folder.trial(trial.number))
            epochs = epochs or epochs_of(recipe, RunDir(self._folder.trial(trial.number)), run)
            rung = trial.rung if trial.results else study.ladder.first(epochs, trial.bracket)
            reached = run.advance(study.ladder.epochs(rung, epochs))
        except (Interrupted, StorageError, DataError):
            raise
        except LuthierError as error:
            return self._failed(trial, error, epochs)
        if not math.isfinite(reached.value):
            what = f"{self._bench.metric} is {reached.value}."
            return lambda: study.fail(trial, what, "nonfinite_loss", epochs=epochs)
        loss = reached.loss if reached.loss is not None and math.isfinite(reached.loss) else None
        result = Result(reached.epoch, float(reached.value), loss, float(reached.seconds))
        forgetting = None
        if self._forgetting is not None and (rung == TOP or reached.stopped_early):
            forgetting = self._forgetting(RunDir(self._folder.trial(trial.number)))
        return lambda: study.report(
            trial, rung, result, epochs=epochs, parameters=reached.trainable_parameters,
            stopped_early=reached.stopped_early, curve=_curve(reached.history), forgetting=forgetting,
        )  # fmt: skip

    def _failed(self, trial: Trial, error: LuthierError, epochs: int) -> Callable[[], object]:
        failed = replace(trial, state="failed", results={})
        trials = [failed if other.number == trial.number else other for other in self._study.trials()]
        self._listener(Event("message", f"trial {trial.number} failed: {error}", "warn"))

        def tell() -> None:
            self._study.fail(trial, str(error), error.code, epochs=epochs)

        if is_hopeless(trials, self._study.most_trials):
            tell()  # the failure is kept before the search stops
            raise error
        return tell


def is_hopeless(trials: Sequence[Trial], most: int) -> bool:
    """Whether so many trials have failed, and nothing else came, that another would fail alike, of at most `most`."""
    failed = sum(trial.state == "failed" for trial in trials)
    return failed >= min(_HOPELESS, most) and not any(trial.results for trial in trials)


def epochs_of(recipe: Recipe, folder: RunDir, run: BenchRun) -> int:
    """The epochs of a trial: those of its recipe, or what `auto` became, which its folder tells after the first one."""
    if isinstance(recipe.train.epochs, int):
        return recipe.train.epochs
    if not folder.recipe_yaml.is_file():
        run.advance(1)
    return int(read_yaml(folder.recipe_yaml)["train"]["epochs"])


def _curve(history: Any) -> list[tuple[int, float]]:
    found = [(entry["epoch"], entry.get("validation_metric")) for entry in history]
    return [(int(epoch), float(value)) for epoch, value in found if value is not None and math.isfinite(value)]


class _SignsOfLife:
    """The listener of a worker that is watched: whatever its trials do, it is at work."""

    def __init__(self, journal: PipedJournal) -> None:
        self._journal, self._last = journal, clock.monotonic()

    def __call__(self, event: Event) -> None:
        if clock.monotonic() - self._last >= _ALIVE_SECONDS:
            self._last = clock.monotonic()
            self._journal.alive()


def main(words: list[str] | None = None) -> int:
    """One worker of a search, in a process of its own; 0 when the search is over, else `SAID_WHY` or `STOPPED`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--holder", default="", help="what it calls itself in the study")
    parser.add_argument("--spent", type=float, default=0.0)
    parser.add_argument("--journal", type=int, help="the descriptor of a socket to the process that holds it")
    args = parser.parse_args(words)
    from luthier.core.children import die_with_parent

    die_with_parent(args.parent)
    from luthier.searching.forgetting import forgetting_of
    from luthier.searching.workbench import Workbench

    folder = SearchFolder(args.folder)
    space, settings = folder.asked()
    piped = None if args.journal is None else PipedJournal(socket.socket(fileno=args.journal))
    study = Study(piped or folder.journal(), space, settings, args.holder)
    claims = folder.claims()
    try:
        bench = Workbench(space.first(), listener=ignore if piped is None else _SignsOfLife(piped))
        forgetting = forgetting_of if "forgetting" in settings.objectives else None
        clockwork = Clockwork(settings.budget, args.spent)
        Worker(bench, study, folder, claims, clockwork, forgetting=forgetting).run()
    except (Interrupted, KeyboardInterrupt):
        return STOPPED
    except LuthierError as error:
        print(error, file=sys.stderr, flush=True)
        return SAID_WHY
    finally:
        with contextlib.suppress(OSError):
            claims.release_all()
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
