"""The process of one job: ``python -m luthier.jobs.worker PARENT DESCRIPTOR``, started by the supervisor.

It asks the kernel to die with its parent, reads its assignment from stdin, tells what happens on DESCRIPTOR, and
ends with 0 (done or failed, and said so), or 75 (asked to stop).
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from luthier.core import clock, durable_files
from luthier.core.children import die_with_parent
from luthier.core.errors import Interrupted, LuthierError, StorageError
from luthier.core.events import Event, Listener
from luthier.jobs.children import end_stale, own_name
from luthier.jobs.worker_wire import STOPPED, Ask, Assignment, from_line, to_line

_LOCK_SECONDS = 10.0
_ASKS_TO_STOP = ("SIGHUP", "SIGXCPU", "SIGUSR1", "SIGUSR2")
"""Signals that mean the same as SIGTERM."""


RunJob = Callable[[Assignment, Listener, Ask], dict[str, Any]]


class Wire:
    """The worker's end: events out, answers in."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._sending = threading.Lock()
        self._asked = 0
        self._answering = threading.Condition()
        self._answers: dict[int, dict[str, Any]] = {}

    def send(self, value: dict[str, Any]) -> None:
        """One line; the process ends when nobody reads it."""
        data = memoryview(to_line(value))
        try:
            with self._sending:  # of a search with several workers, several threads do
                while data:
                    data = data[os.write(self._descriptor, data) :]
        except BrokenPipeError:
            os._exit(1)

    def tell(self, event: Event) -> None:
        """An event of the run. What comes before a checkpoint is committed before it is written."""
        self.send(event.to_dict())
        if event.kind == "saving":
            self.ask("sync")  # answered when everything that was sent before it is committed

    def ask(self, kind: str, **values: Any) -> dict[str, Any]:
        """Send a line that is answered, and wait for the answer."""
        with self._answering:
            self._asked += 1
            number = self._asked
        self.send({"kind": kind, "id": number, **values})
        with self._answering:
            self._answering.wait_for(lambda: number in self._answers)
            return self._answers.pop(number)

    def listen(self) -> None:
        """Read answers, in a thread, until the supervisor is gone: then this process ends."""
        for line in iter(sys.stdin.buffer.readline, b""):
            answer = from_line(line)
            with self._answering:
                self._answers[int(answer["answer"])] = answer
                self._answering.notify_all()
        os._exit(1)


def main(argv: list[str], run_job: RunJob | None = None) -> NoReturn:
    """Do the job that stdin assigns, by `run_job` (None: `work.run_job`, which brings torch), and end."""
    status = _main(argv, run_job)
    sys.stderr.flush()
    os._exit(status)  # Python's own way out aborts when a thread waits in a read


def _main(argv: list[str], run_job: RunJob | None) -> int:
    parent, descriptor = int(argv[0]), int(argv[1])
    die_with_parent(parent)
    faulthandler.enable()
    signal.signal(signal.SIGTERM, _stop_now)
    signal.signal(signal.SIGINT, _stop_now)
    for name in _ASKS_TO_STOP:
        signal.signal(getattr(signal, name), _stop_as_told)
    wire = Wire(descriptor)
    assignment = Assignment.from_line(sys.stdin.buffer.readline())
    os.nice(assignment.nice)
    threading.Thread(target=wire.listen, daemon=True).start()
    lock = _lock(assignment)
    if lock is None:
        wire.send({"kind": "error", "cause": "busy", "code": "run_in_use", "message": "Another worker has the run."})
        return 0
    if assignment.memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (assignment.memory_bytes, assignment.memory_bytes))
    wire.send({"kind": "began"})
    return _work(assignment, wire, run_job)


def _work(assignment: Assignment, wire: Wire, run_job: RunJob | None) -> int:
    try:
        wire.send({"kind": "result", **(run_job or _work_of_all_kinds())(assignment, wire.tell, wire.ask)})
    except Interrupted:
        wire.send({"kind": "stopped"})
        return STOPPED
    except Exception as error:  # whatever it is, the supervisor decides what becomes of the job
        traceback.print_exc()
        wire.send({"kind": "error", **_described(error)})
    return 0


def _work_of_all_kinds() -> RunJob:
    from luthier.jobs.work import run_job

    return run_job


def _described(error: Exception) -> dict[str, Any]:
    """Cause (user, disk, memory, workers, internal), code, message and param of what went wrong."""
    if isinstance(error, LuthierError) and error.code == "workers_died":  # which perhaps was for want of memory
        return {"cause": "workers", **error.to_dict(), "message": error.message}
    chain: list[BaseException] = [error]
    while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None and len(chain) < 10:
        chain.append(inner)
    texts = " ".join(str(item).lower() for item in chain)
    if any(isinstance(item, StorageError) and item.code == "disk_full" for item in chain) or "os error 28" in texts:
        return {"cause": "disk", "code": "disk_full", "message": "The disk is full.", "param": None}
    no_memory = any(phrase in texts for phrase in ("can't allocate memory", "out of memory", "cannot allocate memory"))
    if any(isinstance(item, MemoryError) for item in chain) or no_memory or getattr(error, "code", "") == "gate_g8":
        return {"cause": "memory", "code": "out_of_memory", "message": "The worker ran out of memory.", "param": None}
    if isinstance(error, LuthierError):
        return {"cause": "user", **error.to_dict()}
    # An unforeseen exception's text may hold rows of the data: it stays in the worker's own log.
    return {"cause": "internal", "code": "internal_error", "message": type(error).__name__, "param": None}


def _lock(assignment: Assignment) -> durable_files.ProcessLock | None:
    """The run is ours alone. A worker of an earlier claim that is still at it has lost it, and is ended."""
    path = Path(assignment.lock)
    until = clock.monotonic() + _LOCK_SECONDS
    while True:
        try:
            return durable_files.ProcessLock(path, what="the run", note=f"{own_name()} {assignment.fence}")
        except StorageError as error:
            if error.code != "in_use":
                raise
        words = path.read_text(encoding="utf-8").split()
        if len(words) == 3 and words[2].isdecimal():
            if int(words[2]) >= assignment.fence or clock.monotonic() > until:
                return None
            end_stale(int(words[0]), words[1].rpartition(":")[2])
        clock.sleep(0.05)


def _stop_now(number: int, frame: FrameType | None) -> None:
    """Outside of the training loop, which has a handler of its own, there is nothing to save."""
    os._exit(STOPPED)


def _stop_as_told(number: int, frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    main(sys.argv[1:])
