"""The best model so far of an automatic run, while it runs: a model that can be called, replaced by each better one.

Its name never changes. Each one has an artefact of its own, and the row is changed when that is whole: who is being
answered by the one before is answered to the end.
"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.core import clock, durable, durable_files
from luthier.core.errors import LuthierError, StorageError
from luthier.core.rundir import BEST_JSON, UNTRAINED, read_jsonl
from luthier.jobs.artefacts import Artefacts
from luthier.jobs.errors import StaleClaim
from luthier.jobs.leftovers import Leftovers
from luthier.jobs.queue import Queue
from luthier.jobs.records import Claim, Job, Model, NewEvent
from luthier.jobs.tuned_names import best_artefact, tuned_name
from luthier.jobs.workplace import Workplace

logger = logging.getLogger("luthier.jobs")


@dataclass(frozen=True)
class Best:
    """What the folder of an automatic run says of its best model: the candidate's `name`, the model's `folder`, and
    `task` and `method` that it was trained for and by."""

    name: str
    folder: Path
    task: str
    method: str

    @classmethod
    def of(cls, place: Workplace) -> Best | None:
        """None where there is no model, or none that was taught anything."""
        pointer = place.run.path / BEST_JSON
        if not pointer.is_file():
            return None
        best = json.loads(pointer.read_text(encoding="utf-8"))
        if best["name"] == UNTRAINED:
            return None
        folder = place.run.path / best["model"]
        settings = json.loads((folder / "luthier.json").read_text(encoding="utf-8"))
        return cls(best["name"], folder, settings["task"], settings["method"]["kind"])

    def model(self, job: Job, organisation: str, artefact: str) -> Model:
        """Its row."""
        return Model(
            tuned_name(job.base_model, organisation, job.suffix, job.id), job.project_id, job.id, job.base_model,
            self.task, self.method, artefact, int(clock.now().timestamp()),
        )  # fmt: skip

    def measured(self, run: Path) -> dict[str, Any]:
        """What the journal knows of its candidate: `best` and `metrics` of a job's result."""
        lines = list(read_jsonl(run / "journal.jsonl"))
        begun = (one for one in lines if one["kind"] == "begun" and one["candidate"]["name"] == self.name)
        number = next((one["number"] for one in begun), None)
        results = (one["result"] for one in reversed(lines) if one["kind"] == "rung" and one["number"] == number)
        last = next(results, None)
        if last is None:
            return {}
        metric = last["history"][-1]["metric_name"]
        best = {"trial": number, "name": self.name, "value": last["value"]}
        return {"best": best, "metrics": {metric: last["value"]}}


class BestSoFar:
    """Publishes what the worker of one claim has written, in a thread of its own; of several that wait, the last.

    Attributes:
        seconds: that publishing the last one took; None before that.
    """

    def __init__(
        self, queue: Queue, claim: Claim, place: Workplace, artefacts: Artefacts, organisation: str,
        leftovers: Leftovers,
    ) -> None:  # fmt: skip
        self._queue, self._claim, self._place, self._artefacts = queue, claim, place, artefacts
        self._organisation, self._leftovers = organisation, leftovers
        self.seconds: float | None = None
        self._published = claim.job.result.get("usable")
        self._lock = threading.Lock()
        self._waiting: tuple[Best, dict[str, Any]] | None = None
        self._thread: threading.Thread | None = None
        durable.remove_tree(self._held)  # of a supervisor that was killed

    @property
    def _held(self) -> Path:
        return self._place.path / "best"

    def take(self) -> None:
        """Hold on to the best model that is in the worker's folder now; to be called while the worker waits."""
        try:
            best = Best.of(self._place)
            if best is None or best_artefact(self._claim.job.id, best.folder.name) == self._published:
                return
            kept = self._held / best.folder.name
            with durable.synced(False), durable.atomic_folder(kept) as temporary:
                for path in (one for one in best.folder.rglob("*") if one.is_file()):
                    durable_files.link_or_copy(path, temporary / path.relative_to(best.folder))
        except (OSError, StorageError) as error:
            self._missed(error)
            return
        with self._lock:
            self._waiting = (Best(best.name, kept, best.task, best.method), best.measured(self._place.run.path))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name=f"best-{self._claim.job.id}", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Wait for the one that is being published, and drop what waits: the end publishes the last one."""
        with self._lock:
            self._waiting, thread = None, self._thread
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._lock:
                waiting, self._waiting = self._waiting, None
                if waiting is None:
                    self._thread = None
                    return
            began = clock.monotonic()
            try:
                self._publish(*waiting)
                self.seconds = clock.monotonic() - began
            except StaleClaim:
                return
            except (OSError, LuthierError) as error:
                self._missed(error)

    def _publish(self, best: Best, measured: dict[str, Any]) -> None:
        job = self._claim.job
        artefact = best_artefact(job.id, best.folder.name)
        self._leftovers.expect(artefact)
        self._artefacts.put_folder(artefact, best.folder)
        model = best.model(job, self._organisation, artefact)
        event = NewEvent(
            f"best:{best.folder.name}", f"The best model so far can be called: {model.name} ({best.name})",
            data={"model": model.name},
        )  # fmt: skip
        self._queue.record(
            self._claim, [event], models=[model], fine_tuned_model=model.name,
            result={**job.result, **measured, "usable": artefact},
        )  # fmt: skip
        self._published = artefact
        durable.remove_tree(best.folder)

    def _missed(self, error: Exception) -> None:
        """The next one is tried again, and the end publishes the last one."""
        logger.warning("job %s: its best model so far is not published: %s", self._claim.job.id, error)


def stopped_words(job: Job) -> str:
    """What people are told of an automatic run that was ended before its time; empty for one that left nothing."""
    best = job.result.get("best")
    if job.kind != "auto" or job.fine_tuned_model is None or job.status not in ("cancelled", "failed"):
        return ""
    if best is None:
        return "Ended before its time: the best model until then is kept."
    figures = [f"{name} {value:.4g}" for name, value in (job.result.get("metrics") or {}).items() if value is not None]
    on = f" ({', '.join(figures)} on the validation rows)" if figures else ""
    return f"Ended before its time: the best model until then is kept, {best['name']}{on}."
