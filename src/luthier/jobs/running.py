"""One running job: its worker, the thread that listens to it, and what its end means."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from luthier.core import clock
from luthier.core.errors import LuthierError, StorageError
from luthier.jobs.best_so_far import BestSoFar
from luthier.jobs.children import Child, oom_kills
from luthier.jobs.errors import StaleClaim, Unavailable
from luthier.jobs.patience import Patience
from luthier.jobs.progress import Progress
from luthier.jobs.queue import Queue
from luthier.jobs.records import TRAININGS, Claim, Wanted
from luthier.jobs.telling import Telling
from luthier.jobs.worker_wire import ENDINGS, MAX_LINE, STOPPED, from_line, to_line
from luthier.jobs.workplace import Workplace

logger = logging.getLogger("luthier.jobs")
Given = TypeVar("Given")
_READ = 2**16
CHECKPOINTS_OF_ROOM = 2.5
"""A job needs room for this many checkpoints: the one that is there, and the next while it is written."""
_GENTLE = (STOPPED, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP)
"""Exit codes of a worker that was asked to make room: no fault of the job."""


class Lost(Exception):
    """The claim is not ours any more, or the supervisor ends: nothing is to be written."""


class RunningJob:
    """The worker of a claim, as far as its last word. `Ending` decides what becomes of the job.

    Attributes:
        last: the worker's last line, of the kinds `ENDINGS`; None when it had none.
        status: the worker's exit code.
        progressed: there is a checkpoint that was not there before.
        asked: why it was asked to stop: cancel, pause, shutdown, room; None when it was not.
        hung: for how many seconds it was silent before it was killed for it.
    """

    def __init__(
        self,
        queue: Queue,
        claim: Claim,
        place: Workplace,
        child: Child,
        descriptor: int,
        patience: Patience,
        free_bytes: Callable[[], int],
        best: BestSoFar | None = None,
    ) -> None:
        """`best` publishes what an automatic run has found, whenever its worker says that there is a better one."""
        self.queue, self.claim, self.place, self.child, self.patience = queue, claim, place, child, patience
        self.last: dict[str, Any] | None = None
        self.status: int | None = None
        self.progressed = False
        self.asked: Wanted | str | None = None
        self.hung: float | None = None
        self.peak_bytes = 0
        self.needed_bytes = 0
        self.telling = Telling(place.named) if place.job.kind in TRAININGS else Progress(place.named)
        self.best = best
        self._free_bytes = free_bytes
        self._descriptor = descriptor
        self._first_step = max(place.run.steps(), default=0)
        self._oom_kills = oom_kills()
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_out, False)
        self._waking, self._over = threading.Lock(), False
        self._poked = threading.Event()
        self._ending = threading.Event()
        self._phase, self._heard = "other", clock.monotonic()
        self._slowest = 0.0
        self._kill_at: float | None = None
        self._flushed = self._beaten = clock.monotonic()

    @property
    def memory_ran_out(self) -> bool:
        """The worker said so, or the kernel killed it for it."""
        said = self.last is not None and self.last.get("cause") == "memory"
        return said or (self.status == -signal.SIGKILL and self.hung is None and oom_kills() > self._oom_kills)

    @property
    def gentle(self) -> bool:
        """The worker ended because it was asked to, by us or by somebody else."""
        return self.status in _GENTLE or (self.asked is not None and self.hung is None)

    def poke(self) -> None:
        """From any thread: look at once what is wanted of the job."""
        self._poked.set()
        self._wake()

    def shut_down(self) -> None:
        """From any thread: the supervisor ends; the worker saves and stops."""
        self._ending.set()
        self._wake()

    def listen(self) -> None:
        """Until the worker has ended. Raises `Lost`; the worker is gone then, too."""
        try:
            self._listen()
        except BaseException:
            self.child.kill()
            raise
        finally:
            self.child.end()
            with self._waking:
                self._over = True
                for descriptor in (self._descriptor, self._wake_in, self._wake_out):
                    os.close(descriptor)

    def insist(self, write: Callable[[], Given]) -> Given:
        """Do a write, again and again while the database is away. Raises `Lost`."""
        while True:
            try:
                return write()
            except StaleClaim:
                raise Lost("the claim is not valid any more") from None
            except (Unavailable, StorageError) as error:
                logger.warning("job %s: %s", self.claim.job.id, error.code)
                if self._ending.is_set():
                    raise Lost("the supervisor ends while the database is away") from error
            clock.sleep(self.patience.retry)

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Keep the lease while this thread is busy with something else."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(self.patience.beat):
                try:
                    self.queue.heartbeat(self.claim)
                except (Unavailable, StorageError):
                    continue
                except LuthierError:
                    return  # the claim is lost: the next write tells

        thread = threading.Thread(target=beat, name=f"beat-{self.claim.job.id}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _listen(self) -> None:
        rest = b""
        open_ = True
        while open_:
            ready, _, _ = select.select([self._descriptor, self._wake_in], [], [], self._wait_seconds())
            if self._wake_in in ready:
                os.read(self._wake_in, 1024)
            if self._descriptor in ready:
                data = os.read(self._descriptor, _READ)
                open_ = bool(data)
                *lines, rest = (rest + data).split(b"\n")
                try:
                    for line in lines:
                        self._take(line)
                    if len(rest) > MAX_LINE:
                        raise ValueError("a worker's line is too long")
                except (ValueError, KeyError, TypeError) as error:
                    logger.warning("job %s: its worker cannot be understood", self.claim.job.id)
                    self.last = {"kind": "error", "cause": "internal", "message": type(error).__name__}
                    self.child.kill()
                    open_ = False
            self._look()
        self.telling.close()
        self._flush()
        self.status = self.child.wait(self.patience.stop)
        if self.status is None:
            self.child.kill()
            self.status = self.child.wait()

    def _take(self, data: bytes) -> None:
        line = from_line(data)
        kind = line["kind"]
        self._notice(kind, line.get("data") or {})
        if kind == "sync":
            self._flush()
            self._answer(line)
        elif kind == "journal":
            self._journal(line)
        elif kind == "best":
            if self.best is not None:
                self.best.take()
            self._answer(line, seconds=None if self.best is None else self.best.seconds)
        elif kind in ENDINGS:
            self.last = line
            self._measure()
        elif kind != "began":
            self.telling.take(line)

    def _journal(self, line: dict[str, Any]) -> None:
        """What a search reads of its journal or adds to it: the database is for us alone, and so is its address."""
        if "entries" in line:
            self.insist(lambda: self.queue.add_entries(self.claim, int(line["number"]), str(line["entries"])))
            self._answer(line)
        else:
            self._answer(line, entries=self.insist(lambda: self.queue.entries(self.claim, int(line["start"]))))

    def _answer(self, line: dict[str, Any], **values: Any) -> None:
        self.child.tell(to_line({"answer": line["id"], **values}))
        self._heard = clock.monotonic()

    def _notice(self, kind: str, data: dict[str, Any]) -> None:
        """What the supervisor itself learns from an event."""
        now = clock.monotonic()
        if kind == "step":
            if self._phase == "step":
                self._slowest = max(self._slowest, now - self._heard)
            self._phase = "step"
        elif kind in ("judging", "saving", "finished", "result", "error"):
            self._phase = "other"
        if kind == "checkpoint" and int(data["step"]) > self._first_step and not data.get("again"):
            self.progressed = True
        if kind == "progress" and not data.get("again") and data["about"].get("state") != "running":
            self.progressed = True  # a part that only begins is none: a worker may die of it each time
        if kind == "size":
            self.needed_bytes = int(CHECKPOINTS_OF_ROOM * data["checkpoint_bytes"])
            if self._free_bytes() < self.needed_bytes:
                self._stop("room")
        self._heard = now

    def _look(self) -> None:
        """Everything that is due."""
        now = clock.monotonic()
        if now - self._flushed >= self.patience.batch:
            self._flush()
        if now - self._beaten >= self.patience.beat or self._poked.is_set():
            self._poked.clear()
            self._beaten = now
            self._measure()
            try:
                wanted = self.queue.heartbeat(self.claim)
            except StaleClaim:
                raise Lost("the claim is not valid any more") from None
            except (Unavailable, StorageError):
                wanted = None
            if wanted is not None:
                self._stop(wanted)
        if self._ending.is_set():
            self._stop("shutdown")
        limit = self.patience.other
        if self._phase == "step":
            limit = min(limit, max(self.patience.step, self.patience.step_factor * self._slowest))
        if self.hung is None and self._kill_at is None and now - self._heard > limit:
            self.hung = now - self._heard
            self.child.kill()
        if self._kill_at is not None and now > self._kill_at:
            self.child.kill()
            self._kill_at = now + self.patience.stop

    def _measure(self) -> None:
        self.peak_bytes = max(self.peak_bytes, self.child.peak_bytes())

    def _stop(self, why: Wanted | str) -> None:
        """Ask the worker to save and stop, once; a cancel may follow a pause."""
        if self.asked is None:
            self.child.ask_to_stop()
            self._kill_at = clock.monotonic() + self.patience.stop
        if self.asked is None or why == "cancel":
            self.asked = why

    def _flush(self) -> None:
        """Record what was gathered."""
        telling = self.telling
        self._flushed = clock.monotonic()
        events = telling.taken()
        if events or telling.chosen is not None:
            self.insist(
                lambda: self.queue.record(
                    self.claim, events, step=telling.step, total_steps=telling.total_steps, chosen=telling.chosen,
                    estimated_finish=telling.estimated_finish,
                )
            )  # fmt: skip
            telling.chosen = None

    def _wait_seconds(self) -> float:
        return self.patience.batch if self.telling.events else min(1.0, self.patience.beat)

    def _wake(self) -> None:
        with self._waking:  # a closed descriptor's number may be another file's by now
            if not self._over:
                with contextlib.suppress(BlockingIOError):  # full: it will wake
                    os.write(self._wake_out, b".")
