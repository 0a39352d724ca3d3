"""What the end of a worker means for its job: done, failed, paused, or to be run again."""

from __future__ import annotations

import logging
import signal
from typing import Any

from luthier.core.errors import StorageError
from luthier.jobs.artefacts import Artefacts
from luthier.jobs.errors import Conflict
from luthier.jobs.publishing import Published, publish, unpublish
from luthier.jobs.publishing_parts import publish_parts, publish_stopped
from luthier.jobs.records import TRAININGS, Job, NewEvent
from luthier.jobs.running import RunningJob
from luthier.jobs.wording import without_terminal

logger = logging.getLogger("luthier.jobs")
LEAST_ROOM = 64 * 2**20
"""Bytes that must be free before a job that a full disk paused goes on, where it is not known what it needs."""
DISK_FULL = "disk_full"


class Ending:
    """Settles one job after its worker has ended; every write is checked against the claim."""

    def __init__(self, running: RunningJob, artefacts: Artefacts, organisation: str) -> None:
        self.running, self.artefacts, self.organisation = running, artefacts, organisation
        self.queue, self.claim, self.place = running.queue, running.claim, running.place

    def settle(self) -> Job:
        """The job as it is now. Raises `Lost`."""
        if self.running.best is not None:
            with self.running.beating():
                self.running.best.close()
        running, last = self.running, self.running.last or {}
        kind, cause = last.get("kind"), last.get("cause")
        if kind == "result" and running.asked != "cancel":
            return self._publish(last)
        if running.asked == "cancel":
            return self._cancelled()
        if running.asked == "room" or cause == "disk":
            return self._disk_full()
        if cause == "workers":
            return self._workers_died(last)
        if running.memory_ran_out and not (self.claim.job.kind == "search" and last == {}):
            return self._memory()  # of a search the trial that was trained may be to blame: it is tried again
        if cause == "user":
            message = without_terminal(self.place.named(last["message"]))
            return self._failed(last["code"], message, last.get("param"))
        if kind == "stopped" or (cause is None and running.gentle):
            return self._release(True, self._stopped())
        return self._crashed(last)

    def _publish(self, result: dict[str, Any]) -> Job:
        try:
            with self.running.beating():
                make = publish if self.claim.job.kind in TRAININGS else publish_parts
                published = make(self.artefacts, self.place, result, self.organisation)
        except StorageError as error:
            if error.code == DISK_FULL:
                return self._disk_full()
            logger.warning("job %s: its artefacts could not be written: %s", self.claim.job.id, error.code)
            words = f"The result could not be stored ({error.message}); it is tried again."
            why = {"code": error.code, "message": "The result could not be stored.", "param": None}
            return self._release(False, [self._event("store", words, "warn")], why)
        try:
            return self.running.insist(
                lambda: self.queue.finish(
                    self.claim, "succeeded", events=published.events, models=published.models,
                    checkpoints=published.checkpoints, result_files=published.files, **published.fields,
                )
            )  # fmt: skip
        except Conflict:
            unpublish(self.artefacts, self.claim.job.id, published)
            return self._cancelled()

    def _cancelled(self) -> Job:
        event = NewEvent("cancelled", "The job was cancelled")
        try:
            with self.running.beating():
                kept = publish_stopped(self.artefacts, self.place, self.organisation)
        except StorageError as error:
            logger.warning("job %s: its best model could not be kept: %s", self.claim.job.id, error.code)
            kept = None
        kept = kept or Published([], [], [], [])
        return self.running.insist(
            lambda: self.queue.finish(
                self.claim, "cancelled", events=[*kept.events, event], models=kept.models, **kept.fields
            )
        )  # fmt: skip

    def _failed(self, code: str, message: str, param: str | None = None) -> Job:
        event = NewEvent("failed", f"The job failed: {message}", "error", data={"code": code})
        error = {"code": code, "message": message, "param": param}
        try:
            return self.running.insist(lambda: self.queue.finish(self.claim, "failed", events=[event], error=error))
        except Conflict:
            return self._cancelled()

    def _disk_full(self) -> Job:
        needed = self.running.needed_bytes or LEAST_ROOM
        words = (
            f"The disk is full: the job is paused. It goes on by itself when {max(1, needed // 2**20):,} MiB are free, "
            "or when it is resumed."
        )
        step = max(self.claim.job.step, self.running.telling.step or 0)
        data = {"code": DISK_FULL, "needed_bytes": needed, "step": step}
        event = self._event(DISK_FULL, words, "error", data)
        return self.running.insist(lambda: self.queue.paused(self.claim, [event]))

    def _memory(self) -> Job:
        used = self.running.peak_bytes
        peak = f" (it used {used / 2**20:,.0f} MiB)" if used else ""
        if self.place.shrink():
            words = f"The worker ran out of memory{peak}: it begins again with micro-batches of half the size."
            return self._release(True, [self._event("memory", words, "warn")])
        return self._failed(
            "out_of_memory",
            f"The worker ran out of memory{peak}. Use a smaller batch_size or shorter examples, or a machine with "
            "more memory.",
        )

    def _workers_died(self, last: dict[str, Any]) -> Job:
        """Those of a search, time and again: what is wrong with the machine may pass, and its trials are kept."""
        code, message = last["code"], self.place.named(last["message"])
        if self.running.progressed:
            words = f"{message} The search goes on from the trials that it has."
            return self._release(True, [self._event("workers", words, "warn")])
        words = f"{message} The job is paused; it goes on with the trials that it has when it is resumed."
        event = self._event("workers", words, "error", {"code": code})
        return self.running.insist(lambda: self.queue.paused(self.claim, [event]))

    def _stopped(self) -> list[NewEvent]:
        if self.running.asked == "pause":
            return [self._event("paused", "The job was paused")]
        return [self._event("stopped", "The job was interrupted; it goes on from its last checkpoint")]

    def _crashed(self, last: dict[str, Any]) -> Job:
        what = self._how(last)
        event = self._event("crash", f"{what}; the job goes on from its last checkpoint.", "warn")
        error = {
            "code": "worker_crashed",
            "message": f"{what}. The job was tried several times and came no further.",
            "param": None,
        }
        return self._release(self.running.progressed, [event], error)

    def _how(self, last: dict[str, Any]) -> str:
        running, status = self.running, self.running.status
        if running.hung is not None:
            return f"The worker was silent for {running.hung:.0f} seconds and was ended"
        if last.get("cause") == "internal":
            return f"The worker met an unforeseen error ({last['message']})"
        if status is not None and status < 0:
            memory = ", as memory ran out" if running.memory_ran_out else ""
            return f"The worker was ended by the signal {signal.Signals(-status).name}{memory}"
        return f"The worker ended unexpectedly (status {status})"

    def _release(self, progressed: bool, events: list[NewEvent], error: dict[str, Any] | None = None) -> Job:
        return self.running.insist(lambda: self.queue.release(self.claim, progressed, events, error))

    def _event(self, key: str, message: str, level: Any = "info", data: dict[str, Any] | None = None) -> NewEvent:
        """An event of this claim: another claim may tell the same again."""
        return NewEvent(f"{key}:{self.claim.fence}", message, level, data=data or {})
