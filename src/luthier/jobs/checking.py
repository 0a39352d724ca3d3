"""The files of new jobs are checked by a process that waits, warm, for the next one."""

from __future__ import annotations

import logging
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from luthier.core import clock
from luthier.core.errors import LuthierError
from luthier.jobs.artefacts import Artefacts
from luthier.jobs.children import Child, minimal_environment
from luthier.jobs.errors import Conflict, NotFound, Unavailable
from luthier.jobs.patience import Patience
from luthier.jobs.recipes import with_paths
from luthier.jobs.records import Job, NewEvent
from luthier.jobs.store import Store
from luthier.jobs.tuned_names import report_artefact
from luthier.jobs.worker_wire import from_line, to_line
from luthier.jobs.workplace import Workplace

logger = logging.getLogger("luthier.jobs")
_MOST_TRIES = 3


class Checking:
    """One check at a time. `look` is called by the thread that lives as long as the server: it starts the processes;
    a thread of each check waits for its answer."""

    def __init__(
        self, store: Store, artefacts: Artefacts, work: Path, patience: Patience, done: Callable[[], None]
    ) -> None:
        self.store, self.artefacts, self.work, self.patience, self._done = store, artefacts, work, patience, done
        self._spare: Child | None = None
        self._busy: Child | None = None
        self._thread: threading.Thread | None = None
        self._tries: dict[str, int] = {}

    def look(self) -> None:
        """Begin the next check, if there is one and none is under way; then make sure that a process waits."""
        if self._thread is not None and self._thread.is_alive():
            return
        new = self.store.jobs.with_status("validating_files")
        if new:
            child, self._spare = self._ready(), None
            self._busy = child
            self._thread = threading.Thread(
                target=self._check, args=(new[0], child), name=f"check-{new[0].id}", daemon=True
            )
            self._thread.start()
        self._spare = self._ready()

    def stop(self) -> None:
        """End the processes; a check that was under way begins again with the next server."""
        for child in (self._spare, self._busy):
            if child is not None:
                child.kill()
        if self._thread is not None:
            self._thread.join(5.0)
        if self._spare is not None:
            self._spare.end()

    def _ready(self) -> Child:
        """The process that waits, or a new one."""
        if self._spare is not None and self._spare.process.poll() is None:
            return self._spare
        return Child.spawn(
            ["-m", "luthier.jobs.validation", str(os.getpid())],
            minimal_environment(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1"),
            stdout=subprocess.PIPE,
        )

    def _check(self, job: Job, child: Child) -> None:
        """The thread of one check."""
        try:
            self._settle(job, Workplace(self.work, job), child)
        except (Conflict, NotFound):
            pass  # it was cancelled meanwhile
        except Unavailable:
            logger.warning("the store does not answer; job %s is checked again", job.id)
            clock.sleep(self.patience.retry)
        except Exception:
            logger.exception("job %s: an unforeseen error while its files were checked", job.id)
            clock.sleep(self.patience.retry)
        finally:
            child.end()
            self._done()

    def _settle(self, job: Job, place: Workplace, child: Child) -> None:
        try:
            paths, _ = place.bring_files(self.artefacts, lambda name: self.store.files.get(job.project_id, name))
            data = with_paths(job.recipe, paths)["data"]
        except LuthierError as problem:
            if isinstance(problem, NotFound) or problem.code == "artefact_missing":
                self._reject(job, "file_missing", "A file of the job was deleted.", "training_file")
                return
            if problem.code == "disk_full":
                words = "The disk is full: the job's files cannot be checked. It goes on when it is resumed."
                event = NewEvent(f"disk_full:check:{job.version}", words, "error", data={"code": "disk_full"})
                self.store.jobs.pause(job.project_id, job.id, [event])
                return
            self._reject(job, problem.code, place.named(problem.message), problem.param)
            return
        request = {
            "sources": {name: data[name] for name in ("train", "validation", "test") if name in data},
            "names": place.names(),
            "task": job.recipe.get("task", "auto"),
            "columns": data.get("columns"),
            "group": data.get("group"),
            "like": "openai" if job.kind == "openai" and job.task in ("chat", "complete") else None,
            "findings": str(place.findings),
        }
        answer = self._ask(child, request)
        if answer is None:
            self._failed_check(job)
        elif answer["ok"]:
            warnings = [NewEvent(f"check:{number}", text, "warn") for number, text in enumerate(answer["warnings"])]
            done = NewEvent("validated", "Files validated, moving job to queued state")
            self.store.jobs.validated(job.id, {"task": answer["task"]}, [*warnings, done])
        else:
            if place.findings.is_file():
                self.artefacts.put_folder(report_artefact(job.id), place.findings.parent)
            error = answer["error"]
            self._reject(job, error["code"], error["message"], error["param"])

    def _ask(self, child: Child, request: dict[str, Any]) -> dict[str, Any] | None:
        """The answer of the process; None when it died or took too long."""
        if not child.tell(to_line(request)):
            return None
        timer = threading.Timer(self.patience.validation, child.kill)
        timer.start()
        try:
            assert child.process.stdout is not None
            line = child.process.stdout.readline()
        finally:
            timer.cancel()
        return from_line(line) if line.endswith(b"\n") else None

    def _failed_check(self, job: Job) -> None:
        """Once is an accident; after a few times it is the file's fault."""
        self._tries[job.id] = self._tries.get(job.id, 0) + 1
        if self._tries[job.id] >= _MOST_TRIES:
            words = "The files could not be checked: the check ran out of memory or time."
            self._reject(job, "validation_failed", words, "training_file")

    def _reject(self, job: Job, code: str, message: str, param: str | None) -> None:
        event = NewEvent("failed", message, "error", data={"code": code})
        self.store.jobs.rejected(job.id, {"code": code, "message": message, "param": param}, [event])
        self._tries.pop(job.id, None)
        Workplace(self.work, job).remove()
