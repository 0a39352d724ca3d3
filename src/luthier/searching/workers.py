"""Workers of a search as processes of one thread each; they end with the process that started them, which starts those
that die again and says whose trial was to blame."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from luthier.core import allocator, clock
from luthier.core.durable_files import open_log
from luthier.core.errors import Interrupted, LuthierError, TrainingError
from luthier.core.events import Event
from luthier.core.words import plural
from luthier.search.journal import Journal
from luthier.search.journal_pipe import serve
from luthier.search.study import Study
from luthier.searching.clockwork import Clockwork
from luthier.searching.folder import SearchFolder
from luthier.searching.watching import Watch
from luthier.searching.worker import SAID_WHY, STOPPED, is_hopeless
from luthier.train.signals import stop_flag

PROGRAM = (sys.executable, "-m", "luthier.searching.worker")
MOST_DEATHS = 3
"""Deaths of workers in a row, without a result of any trial in between and for each worker, after which none is started
again."""
_LOOK_SECONDS = 0.5
_STOP_SECONDS = 120.0
"""How long a worker may take to save its trial after it was asked to stop."""
_ASKED_TO_STOP = (STOPPED, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP)
"""Exit codes of a worker that somebody asked to make room: no fault of its trial."""


def chosen_workers(most: int) -> tuple[int, str]:
    """(how many workers `auto` is, at most `most`; why)."""
    from luthier.searching.workbench import default_workers

    found = default_workers()
    number = max(1, min(found, most))
    if found == 1:
        return 1, "workers: 1, as this machine has one core or a GPU, which trials would have to share (auto)."
    why = f"one for each of {found} cores" if number == found else f"one for each trial, of {found} cores"
    return number, f"workers: {number}, {why} (auto)."


def run_workers(
    folder: SearchFolder, number: int, clockwork: Clockwork, watch: Watch, study: Study, journal: Journal | None = None
) -> None:
    """Start so many workers and watch the study until all are done. A `journal` that is not the folder's file is
    served to them. One that dies is started again, and its trial taken up from its last checkpoint.

    Raises:
        Interrupted: after a signal; every worker has saved its trial.
        TrainingError: nobody is left to go on: every worker ended with an error (`workers_failed`), or they died time
            and again (`workers_died`).
    """
    _Crew(folder, number, clockwork, watch, study, journal).work()


@dataclass(frozen=True)
class _Worker:
    """One process. `holder` is what it calls itself in the study."""

    holder: str
    log: Path
    process: subprocess.Popen[bytes]

    def last_line(self) -> str:
        """Of what it wrote to its standard error."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def how_it_died(self) -> str:
        """``was killed by signal 9``."""
        code = self.process.returncode
        if code == -signal.SIGKILL:
            return "was killed by signal 9 (perhaps out of memory)"
        if code < 0:
            return f"was killed by signal {-code} ({signal.Signals(-code).name})"
        kind, _, words = self.last_line().partition(":")
        if kind == "MemoryError" or "memory" in words.lower():
            return "ran out of memory"
        return f"met an unforeseen error, {kind or f'exit code {code}'}; more is in {self.log}"


class _Crew:
    """The workers of one sitting."""

    def __init__(
        self, folder: SearchFolder, number: int, clockwork: Clockwork, watch: Watch, study: Study,
        journal: Journal | None,
    ) -> None:  # fmt: skip
        self._folder, self._number, self._clockwork, self._watch = folder, number, clockwork, watch
        self._study, self._journal = study, journal
        self._name = secrets.token_hex(4)  # another sitting's trials are not to be taken for ours
        self._alive = threading.Event()
        self._working: list[_Worker] = []
        self._started = 0
        self._deaths = self._results = 0
        self._is_done = False
        self._error: LuthierError | None = None

    def work(self) -> None:
        """Until nobody works any more."""
        for _ in range(self._number):
            self._start()
        try:
            with stop_flag() as should_stop:
                while self._working:
                    self._watch.look()
                    if self._alive.is_set():
                        self._alive.clear()
                        self._watch.told(Event("alive"))
                    clock.sleep(_LOOK_SECONDS)
                    if should_stop():
                        raise Interrupted("stopped on request.")
                    self._look()
        except BaseException:
            _stop([worker.process for worker in self._working])
            raise
        if self._error is not None and not self._is_over():
            raise self._error

    def _look(self) -> None:
        """Whoever has ended."""
        ended = [worker for worker in self._working if worker.process.poll() is not None]
        self._working = [worker for worker in self._working if worker not in ended]
        for worker in ended:
            code = worker.process.returncode
            if code == 0:
                self._is_done = True
            elif code in _ASKED_TO_STOP:
                self._ended(worker, Interrupted("its workers were asked to stop."), "was asked to stop")
            elif code == SAID_WHY:
                why = worker.last_line()
                error = self._failure(
                    f"the workers of this search ended: {why}", "Mend that, then go", "workers_failed"
                )
                self._ended(worker, error, f"ended: {why}")
            else:
                self._died(worker)

    def _ended(self, worker: _Worker, error: LuthierError, how: str) -> None:
        """It said why, so it would end alike again."""
        self._error = error
        trial = self._study.lost(worker.holder)
        if self._working:
            text = "" if trial is None else f"; the others take trial {trial.number} up"
            self._say(f"a worker {how}{text}.")

    def _died(self, worker: _Worker) -> None:
        how = worker.how_it_died()
        trial = self._study.lost(worker.holder, how)
        results = sum(len(each.results) for each in self._study.trials())
        self._deaths = self._deaths + 1 if results == self._results else 1
        self._results = results
        during = "" if trial is None else f" while it trained trial {trial.number}"
        failed = trial is not None and trial.state == "failed"
        again = self._starts_again(is_memory=failed and "memory" in how)
        rest = f"the search goes on with {plural(len(self._working), 'worker')}" if self._working else "it was the last"
        self._say(f"a worker {how}{during}; {'it is started again' if again else rest}.")
        if again:
            self._start()
            return
        self._error = self._failure(
            f"the workers of this search died, {self._deaths} in a row without a result: the last one {how}.",
            "With fewer workers (--workers) or smaller trials, go", "workers_died",
        )  # fmt: skip

    def _starts_again(self, *, is_memory: bool) -> bool:
        """Whether there is something left to do for one that has died. Where a trial failed of too little memory, the
        others go on without it: together they may need more than there is."""
        if self._is_over() or self._deaths >= MOST_DEATHS * self._number or (is_memory and self._working):
            return False
        return not is_hopeless(self._study.trials(), self._study.most_trials)

    def _is_over(self) -> bool:
        return self._is_done or is_over(self._study, self._clockwork)

    def _failure(self, message: str, remedy: str, code: str) -> TrainingError:
        remedy = f"{remedy} on with: luthier search --resume {self._folder.path}"
        return TrainingError(message, where=str(self._folder.path), remedy=remedy, code=code)

    def _say(self, text: str) -> None:
        self._watch.look()
        self._watch.told(Event("message", text, "warn"))

    def _start(self) -> None:
        holder = f"{self._name}/{self._started}"
        log = self._folder.path / "locks" / f"worker-{os.getpid()}-{self._started}.log"
        command = [
            *PROGRAM, str(self._folder.path), "--parent", str(os.getpid()), "--holder", holder,
            "--spent", f"{self._clockwork.elapsed:.3f}",
        ]  # fmt: skip
        self._started += 1
        self._working.append(_Worker(holder, log, self._begin(command, log)))

    def _begin(self, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        with open_log(log) as errors:
            if self._journal is None:
                return subprocess.Popen(command, env=_environment(), stdout=subprocess.DEVNULL, stderr=errors)
            ours, theirs = socket.socketpair()
            with theirs:
                child = subprocess.Popen(
                    [*command, "--journal", str(theirs.fileno())], env=_environment(), stdout=subprocess.DEVNULL,
                    stderr=errors, pass_fds=[theirs.fileno()],
                )  # fmt: skip
            serve(self._journal, ours, self._alive.set)
            return child


def is_over(study: Study, clockwork: Clockwork) -> bool:
    """Whether nothing is left to train, or no time for it."""
    may_begin, may_promote = clockwork.allows(study.trials(), study.settings.repeat)
    return study.is_over(may_begin=may_begin, may_promote=may_promote)


def _environment() -> dict[str, str]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {**os.environ, **allocator.SETTINGS, **threads}


def _stop(children: list[subprocess.Popen[bytes]]) -> None:
    """Ask each to save and end; a terminal's Ctrl-C has asked them already, and a second signal would kill."""
    deadline = clock.monotonic() + _STOP_SECONDS
    asked = clock.monotonic() + 2.0
    told: set[int] = set()
    with contextlib.suppress(KeyboardInterrupt):
        while clock.monotonic() < deadline and any(child.poll() is None for child in children):
            for child in children:
                if child.pid not in told and child.poll() is None and clock.monotonic() > asked:
                    told.add(child.pid)
                    child.send_signal(signal.SIGTERM)
            clock.sleep(0.1)
    for child in children:
        if child.poll() is None:
            child.kill()
