"""One automatic run: its candidates, and the winner's last run; a later worker goes on with its folder and its time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from luthier.automatic import auto
from luthier.automatic.entry import Entry, read_entries
from luthier.automatic.folder import AutoFolder
from luthier.automatic.page import page_of
from luthier.automatic.plan import asked
from luthier.automatic.telling import row
from luthier.core import clock, durable, durable_files
from luthier.core.errors import LuthierError
from luthier.core.events import Event, Listener
from luthier.jobs.parts import PartsListener
from luthier.jobs.pipeline import check_files
from luthier.jobs.worker_wire import Ask, Assignment
from luthier.models.run_model import model_folder

_ROWS_SECONDS, _BYTES_A_SECOND = 1.5, 50e6
"""What publishing a model takes: rows and events in the database, and its files, read and written once."""
USE = "The model is on the server, under the name that the page of this run shows; there it is tried and deployed."
_NAMES = (
    "number", "name", "state", "epochs", "epoch", "value", "seconds", "error", "metric", "best", "published", "elapsed",
    "higher_is_better",
)  # fmt: skip


def run_auto(assignment: Assignment, listener: Listener, ask: Ask) -> dict[str, Any]:
    """Choose, or go on; gives the run's folder, its winner, and facts of the winner's last run. The supervisor, whom
    `ask` asks, publishes each model that is the best from then on.

    The budget counts from the job's turn to the rows that end it: the start of this process, and what the supervisor
    does with the result, are part of it. The time between two workers is not.

    Raises `LuthierError`; `Interrupted` after a signal, with everything saved.
    """
    check_files(assignment.files)
    folder = AutoFolder(Path(assignment.run))
    told = AutoListener(listener, assignment.fence)
    if folder.is_begun:
        durable_files.remove_file(folder.json)  # of an earlier stop; a killed worker leaves none of its own
        told.tell_again(folder)
    else:
        values, how = assignment.recipe, assignment.recipe["auto"]
        data = values["data"]
        request = asked(
            data["train"], budget=float(how["budget"]), task=values.get("task", "auto"),
            model=values.get("model") or "auto", columns=data.get("columns") or None, test=data.get("test"),
            validation=data.get("validation"), seed=how.get("seed", 0), overrides=tuple(how.get("overrides") or ()),
        )  # fmt: skip
        folder.begin(request.to_dict())
    spent = max(0.0, clock.monotonic() - assignment.started_at) if assignment.started_at else 0.0
    try:
        found = auto(resume=folder.path, listener=told, spent=spent, pass_on=Passing(ask))
    except LuthierError as error:
        if error.where == str(folder.path):
            error.where = ""  # nobody has this folder
        raise
    finally:
        _page_for_the_server(folder)
    report = found.report
    best, last = found.best, report["final"] or {}
    return {
        "folder": str(found.path),
        "run": best["run"],
        "model": str(model_folder(found.path)),
        "trained_tokens": int(last["cost"]["tokens"]) if last.get("cost") else None,
        "steps": len(found.trials),
        "metrics": dict(found.metrics),
        "verdict": found.verdict,
        "warnings": list(last.get("warnings") or []),
        "task": report["task"],
        "method": best["recipe"]["method"]["kind"],
        "best": {name: best[name] for name in ("trial", "name", "value")},
    }


class Passing:
    """Passes the best model so far on to the supervisor; tells how long it takes for one: as it was measured, and
    before that by its size."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def __call__(self, model: Path, name: str) -> float:
        """The supervisor has hold of `model` when this returns."""
        measured = self._ask("best")["seconds"]
        size = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
        return _ROWS_SECONDS + (size / _BYTES_A_SECOND if measured is None else float(measured))


def _page_for_the_server(folder: AutoFolder) -> None:
    """Write the page again, with what can be done here, where nobody has the folder."""
    if folder.json.is_file():
        durable.write_text(folder.html, page_of(json.loads(folder.json.read_text(encoding="utf-8")), use=USE))


class AutoListener:
    """Candidates as parts of the job. `fence` is of the claim: what is told again is news, for a dead worker may have
    told something else last."""

    def __init__(self, listener: Listener, fence: int) -> None:
        self._parts = PartsListener(listener)
        self._fence = fence
        self._seen: dict[int, str] = {}

    def __call__(self, event: Event) -> None:
        """One event of the run."""
        if event.kind != "trial":
            self._parts(event)
            return
        data = event.data
        change = f"{data['state']}:{data['epoch']}"
        self._part(
            data, f"{change}:{self._fence}" if data["state"] == "running" else change,
            event.message or f"{data['name']} trains", max(0.0, data["budget"] - data["elapsed"]),
        )  # fmt: skip

    def tell_again(self, folder: AutoFolder) -> None:
        """What a worker that died may not have told of."""
        left = max(0.0, float(folder.request()["budget"]) - folder.spent())
        for entry in read_entries(list(folder.journal())):
            change = f"{entry.state}:{entry.last.epoch if entry.last else 0}"
            is_waiting = entry.state == "paused"
            self._part(
                _row(entry), f"{change}:{self._fence}" if is_waiting else change,
                f"{entry.candidate.name}: {'waits' if is_waiting else entry.state}", left,
                again=True,
            )  # fmt: skip

    def _part(
        self, data: dict[str, Any], change: str, message: str, seconds_left: float, *, again: bool = False
    ) -> None:  # fmt: skip
        self._seen[data["number"]] = data["state"]
        self._parts.part(
            str(data["number"]), change, message, {name: data[name] for name in _NAMES},
            done=sum(state != "running" for state in self._seen.values()), total=len(self._seen), again=again,
            level="warn" if data["state"] == "failed" else "info", seconds_left=seconds_left,
        )  # fmt: skip


def _row(entry: Entry) -> dict[str, Any]:
    """A candidate as a session tells it, as far as the journal knows."""
    last = entry.last
    metric = last.history[-1].get("metric_name") if last and last.history else None
    return {**row(entry, entry.state, None, None), "metric": metric, "elapsed": entry.at, "higher_is_better": None}
