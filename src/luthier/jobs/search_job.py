"""One search: its trials, the best again, and the fresh run of the best; a later worker goes on with its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.core import durable
from luthier.core.events import Event, Listener
from luthier.jobs.parts import PartsListener
from luthier.jobs.pipeline import check_files
from luthier.jobs.search_journal import StoredJournal, adopt
from luthier.jobs.worker_wire import Assignment
from luthier.search.study import MOST_DEATHS, Study
from luthier.search.trial import Trial
from luthier.searching import search
from luthier.searching.asked import asked
from luthier.searching.folder import SearchFolder
from luthier.searching.watching import row


def run_search(assignment: Assignment, listener: Listener, journal: StoredJournal) -> dict[str, Any]:
    """Search, or go on with what `journal` knows, also where the folder is not here any more; gives the search's
    folder, and facts of the fresh run of the best.

    Raises `LuthierError`; `Interrupted` after a signal, with everything saved.
    """
    check_files(assignment.files)
    told = SearchListener(listener)
    folder = SearchFolder(Path(assignment.run))
    if not folder.request.is_file():
        values, _, settings = asked(assignment.recipe, {}, {}, assignment.job)
        durable.make_folder(folder.path)
        folder.begin(values, settings)
    adopt(folder.journal_file, journal)
    space, settings = folder.asked()
    study = Study(journal, space, settings)
    if settings.workers == 1 and assignment.attempts >= MOST_DEATHS and study.is_begun:
        told.give_up(study, assignment.attempts)
    told.tell_again(study)
    found = search(resume=folder.path, listener=told, journal=journal)
    run = folder.best
    report = run.report()
    assert report is not None, "a search that is done has a fresh run"
    best = found.best
    assert best is not None
    return {
        "folder": str(folder.path),
        "run": str(run.path),
        "model": str(run.model),
        "trained_tokens": int(report["cost"]["tokens"]),
        "steps": len(found.trials),
        "metrics": {name: cell["value"] for name, cell in report["metrics"].items()},
        "verdict": found.verdict,
        "warnings": list(report["warnings"]),
        "task": report["task"],
        "method": report["method"],
        "base": best["params"].get("model"),  # where bases are searched; else it is the job's own
        "best": {"trial": best["trial"], "params": best["params"], "value": best["value"]},
        "metric": found.report["metric"],
    }


class SearchListener:
    """Trials as parts of the job."""

    def __init__(self, listener: Listener) -> None:
        self._parts = PartsListener(listener)

    def __call__(self, event: Event) -> None:
        """One event of the search."""
        if event.kind != "trial":
            self._parts(event)
            return
        data = event.data
        counts = data["counts"]
        left = None if data["budget"] is None else max(0.0, data["budget"] - data["elapsed"])
        names = ("number", "state", "params", "epochs", "epoch", "value", "seconds", "error", "is_best", "metric")
        self._parts.part(
            str(data["number"]), _change(data), event.message, {name: data[name] for name in names},
            done=data["trials"] - counts.get("running", 0), total=data["most_trials"], level=event.level,
            seconds_left=left,
        )  # fmt: skip

    def give_up(self, study: Study, deaths: int) -> None:
        """Fail the trial that so many workers in a row died of, where each trained the trials itself."""
        for trial in study.trials():
            if trial.state == "running":
                why = f"{deaths} workers in a row ended while they trained it, perhaps for want of memory."
                failed = study.fail(trial, why, "worker_died")
                self._tell(study, failed, f"trial {trial.number} failed: {why}", _done(study.trials()), again=False)

    def tell_again(self, study: Study) -> None:
        """What a worker that died may not have told of."""
        if study.is_begun:
            trials = study.trials()
            done = _done(trials)
            for trial in trials:
                self._tell(study, trial, f"trial {trial.number}: {trial.state}", done, again=True)

    def _tell(self, study: Study, trial: Trial, message: str, done: int, *, again: bool) -> None:
        about = {**row(trial), "is_best": False, "metric": study.metric}
        self._parts.part(
            str(trial.number), _change(about), message, about, done=done, total=study.most_trials,
            level="info" if again else "warn", again=again,
        )  # fmt: skip


def _done(trials: Sequence[Trial]) -> int:
    return sum(trial.state != "running" for trial in trials)


def _change(about: dict[str, Any]) -> str:
    return f"{about['state']}:{about['epoch']}"
