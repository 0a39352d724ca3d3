"""The supervisor: threads inside the server that check new jobs' files, run one worker per job, and never import torch.

Its first thread starts all processes, and lives as long as the server: they ask the kernel to die with it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.core import clock, durable, durable_files
from luthier.core.errors import LuthierError, StorageError
from luthier.jobs.artefacts import Artefacts
from luthier.jobs.assigning import Assigning
from luthier.jobs.best_so_far import BestSoFar
from luthier.jobs.checking import Checking
from luthier.jobs.children import Child, computing_environment
from luthier.jobs.ending import DISK_FULL, LEAST_ROOM, Ending
from luthier.jobs.errors import Conflict, NotFound, StaleClaim, Unavailable
from luthier.jobs.ids import JOB_PREFIXES
from luthier.jobs.leftovers import Leftovers
from luthier.jobs.patience import Patience
from luthier.jobs.queue import Queue
from luthier.jobs.records import TERMINAL, Claim, Job, JobEvent, NewEvent
from luthier.jobs.running import Lost, RunningJob
from luthier.jobs.store import Store
from luthier.jobs.worker_wire import Assignment
from luthier.jobs.workplace import Workplace

logger = logging.getLogger("luthier.jobs")


class Supervisor:
    """Runs the jobs of a store.

    Args:
        work: folder of the jobs that are not over; nobody else writes there.
        models: folder of the base models that the operator installed.
        organisation: the third part of a tuned model's name.
        devices: where jobs run; `queue` says how many at once on each.
        memory_bytes: most address space of a worker; 0: no limit.
        nice: how far the workers stand back, so that answers and polls go first.
        program: what Python runs as a worker.
        assistants: folder of the operator's assistants, which decisions may ask.
        track: where every training is mirrored; the key `track` of a recipe.
    """

    def __init__(
        self,
        store: Store,
        queue: Queue,
        artefacts: Artefacts,
        work: Path,
        *,
        models: Path | None = None,
        organisation: str = "local",
        devices: Sequence[str] = ("cpu",),
        patience: Patience | None = None,
        memory_bytes: int = 0,
        nice: int = 10,
        program: Sequence[str] = ("-m", "luthier.jobs.worker"),
        assistants: Path | None = None,
        track: Mapping[str, Any] | None = None,
    ) -> None:
        self.store, self.queue, self.artefacts, self.work = store, queue, artefacts, work
        self.models, self.organisation, self.devices = models, organisation, tuple(devices)
        self.patience = patience or Patience()
        self.program = tuple(program)
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._running: dict[str, RunningJob] = {}
        self._threads: list[threading.Thread] = []
        self._touched: set[str] = set()
        self._thread: threading.Thread | None = None
        self._checking = Checking(store, artefacts, work, self.patience, self._wake.set)
        self._room_looked = clock.monotonic()
        self._leftovers = Leftovers(artefacts, store.models, work / "leftovers.json")
        self._assigning = Assigning(
            store, artefacts, self.models, self.patience.save, memory_bytes, nice, assistants, track
        )

    def start(self) -> None:
        """Sweep up after a crash, and begin. Nobody may be writing artefacts yet."""
        durable_files.make_folders(self.work)
        self._sweep()
        self.store.changed(self._changed)
        self._thread = threading.Thread(target=self._run, name="luthier-supervisor", daemon=True)
        self._thread.start()

    def stop(self, seconds: float = 30.0) -> None:
        """Let the workers save and stop, put their jobs back into the queue, and end; kill what takes longer."""
        self._ending.set()
        self._wake.set()
        with self._lock:
            running = list(self._running.values())
        for job in running:
            job.shut_down()
        until = clock.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - clock.monotonic()))
        for job in running:
            job.child.kill()
        for thread in self._threads:
            thread.join(5.0)
        if self._thread is not None:
            self._thread.join(10.0)

    def notify(self) -> None:
        """There may be something to do; the supervisor also learns it from the store."""
        self._wake.set()

    def running(self) -> dict[str, int]:
        """Process ids of the workers, by job."""
        with self._lock:
            return {name: job.child.pid for name, job in self._running.items()}

    def alive(self) -> bool:
        """Whether it looks after jobs."""
        return self._thread is not None and self._thread.is_alive()

    def _changed(self, job_id: str) -> None:
        with self._lock:
            running = self._running.get(job_id)
            own = threading.current_thread() in self._threads
            if running is None:
                self._touched.add(job_id)
        if own:
            return  # we did it ourselves
        if running is not None:
            running.poke()
        self._wake.set()

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                try:
                    self._look()
                except (Unavailable, StorageError) as error:
                    logger.warning("the store does not answer: %s", error.code)
                except Exception:
                    logger.exception("the supervisor met an unforeseen error")
                self._wake.wait(self.patience.look)
                self._wake.clear()
        finally:
            self._checking.stop()
            for thread in list(self._threads):
                thread.join()  # the workers die with this thread

    def _look(self) -> None:
        """Everything that there is to do now."""
        with self._lock:
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            touched, self._touched = self._touched, set()
        for job_id in touched:  # what was cancelled while it waited has no worker that would tidy up after it
            self._remove_if_over(job_id)
        self.queue.rescue()
        self._checking.look()
        if clock.monotonic() - self._room_looked >= self.patience.room:
            self._room_looked = clock.monotonic()
            self._resume_where_room_is()
            self._leftovers.look()
        while not self._ending.is_set() and (claim := self.queue.claim(self.devices)) is not None:
            self._start(claim)

    def _start(self, claim: Claim) -> None:
        """A worker for a claim; where there cannot be one, the job is over or is tried again."""
        place = Workplace(self.work, claim.job)
        try:
            assignment = self._assigning.of(claim, place)
            started = NewEvent("started", "Fine-tuning job started")
            self.queue.record(claim, [started])
            running = self._spawn(claim, place, assignment)
        except StaleClaim:
            return
        except (Unavailable, OSError) as error:
            logger.warning("no worker could be started for the job %s: %s", claim.job.id, type(error).__name__)
            self._let_go(claim, progressed=True)
            return
        except LuthierError as error:
            self._refuse(claim, place, error)
            return
        thread = threading.Thread(target=self._follow, args=(running,), name=f"job-{claim.job.id}", daemon=True)
        with self._lock:
            self._running[claim.job.id] = running
            self._threads.append(thread)
            thread.start()
        if self._ending.is_set():  # `stop` may have looked before this one was there
            running.shut_down()

    def _spawn(self, claim: Claim, place: Workplace, assignment: Assignment) -> RunningJob:
        reading, writing = os.pipe()
        try:
            own = {"LUTHIER_CACHE": str(self.work / "cache" / "trunk"), **self._assigning.secrets(claim.job)}
            with durable_files.open_log(place.log) as log:
                child = Child.spawn(
                    [*self.program, str(os.getpid()), str(writing)],
                    computing_environment(claim.device, **own), stderr=log, descriptors=[writing],
                )  # fmt: skip
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        best = None
        if claim.job.kind == "auto":
            best = BestSoFar(self.queue, claim, place, self.artefacts, self.organisation, self._leftovers)
        running = RunningJob(self.queue, claim, place, child, reading, self.patience, self._free_bytes, best)
        child.tell(assignment.to_line())
        return running

    def _follow(self, running: RunningJob) -> None:
        """The thread of one job."""
        job_id = running.claim.job.id
        try:
            running.listen()
            job = Ending(running, self.artefacts, self.organisation).settle()
            if job.terminal:
                running.place.remove()
        except Lost as lost:
            logger.warning("job %s: %s", job_id, lost)
        except Exception:
            logger.exception("job %s: an unforeseen error of the supervisor", job_id)
            self._let_go(running.claim, progressed=False)
        finally:
            with self._lock:
                if self._running.get(job_id) is running:
                    del self._running[job_id]
            self._wake.set()

    def _refuse(self, claim: Claim, place: Workplace, error: LuthierError) -> None:
        """The job cannot be run: a file or its parent is gone, or the disk is full."""
        if isinstance(error, StorageError) and error.code != "artefact_missing":
            event = NewEvent(
                f"{error.code}:{claim.fence}", f"The job is paused: {error.message}", "error",
                data={"code": error.code, "needed_bytes": LEAST_ROOM},
            )  # fmt: skip
            self.queue.paused(claim, [event])
            return
        gone = isinstance(error, NotFound) or error.code == "artefact_missing"
        code = "file_missing" if gone else error.code
        words = "A file or model that the job needs was deleted." if gone else place.named(error.message)
        event = NewEvent("failed", f"The job failed: {words}", "error", data={"code": code})
        why = {"code": code, "message": words, "param": error.param}
        self.queue.finish(claim, "failed", events=[event], error=why)
        place.remove()

    def _let_go(self, claim: Claim, *, progressed: bool) -> None:
        try:
            self.queue.release(claim, progressed, [])
        except LuthierError as error:  # the lease ends by itself
            logger.warning("job %s could not be given back: %s", claim.job.id, error.code)

    def _free_bytes(self) -> int:
        """Room where checkpoints and artefacts go, whichever has less."""
        free = self.artefacts.free_bytes()
        here = durable.free_bytes(self.work)
        return here if free is None else min(here, free)

    def _resume_where_room_is(self) -> None:
        """Jobs that a full disk paused go on when there is room again; where that was in vain, a person decides."""
        for job in self.store.jobs.with_status("paused"):
            last, *earlier = self.store.jobs.events(job.project_id, job.id, limit=20).items
            if last.data.get("code") != DISK_FULL or any(_same_place(last, event) for event in earlier):
                continue
            if self._free_bytes() >= int(last.data.get("needed_bytes", LEAST_ROOM)):
                event = NewEvent(f"room:{last.seq}", "There is room on the disk again: the job goes on.")
                try:
                    self.store.jobs.resume(job.project_id, job.id, [event])
                except (Conflict, NotFound):
                    continue  # somebody was faster

    def _sweep(self) -> None:
        """What a crash left: half-written files, and folders of jobs that are over."""
        durable_files.sweep_tree(self.work)
        self.artefacts.sweep()
        for path in self.work.iterdir():
            if path.name.startswith(JOB_PREFIXES):
                self._remove_if_over(path.name)

    def _remove_if_over(self, job_id: str) -> None:
        path = self.work / job_id
        if path.is_dir() and self._is_over(job_id):
            durable.remove_tree(path)

    def _is_over(self, job_id: str) -> bool:
        try:
            job: Job = self.store.jobs.find(job_id)
        except NotFound:
            return True
        return job.status in TERMINAL


def _same_place(last: JobEvent, earlier: JobEvent) -> bool:
    """Whether the disk was full at the same step before."""
    return earlier.data.get("code") == DISK_FULL and earlier.data.get("step") == last.data.get("step")
