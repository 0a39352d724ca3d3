"""Workers of a search as processes of one thread each; they end with the process that started them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from luthier.core import allocator, clock
from luthier.core.durable_files import open_log
from luthier.core.errors import Interrupted, TrainingError
from luthier.core.events import Event
from luthier.search.journal import Journal
from luthier.search.journal_pipe import serve
from luthier.searching.clockwork import Clockwork
from luthier.searching.folder import SearchFolder
from luthier.searching.watching import Watch
from luthier.train.signals import stop_flag

_LOOK_SECONDS = 0.5
_STOP_SECONDS = 120.0
"""How long a worker may take to save its trial after it was asked to stop."""


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
    folder: SearchFolder, number: int, clockwork: Clockwork, watch: Watch, journal: Journal | None = None
) -> None:
    """Start so many workers and watch the journal until all are done. A `journal` that is not the folder's file is
    served to them.

    Raises:
        Interrupted: after a signal; every worker has saved its trial.
        TrainingError: every worker ended with an error; what one of them said.
    """
    command = [
        sys.executable, "-m", "luthier.searching.worker", str(folder.path), "--parent", str(os.getpid()),
        "--spent", f"{clockwork.elapsed:.3f}",
    ]  # fmt: skip
    logs = [folder.path / "locks" / f"worker-{os.getpid()}-{i}.log" for i in range(number)]
    alive = threading.Event()
    children = [_start(command, log, journal, alive) for log in logs]
    try:
        with stop_flag() as should_stop:
            while any(child.poll() is None for child in children):
                watch.look()
                if alive.is_set():
                    alive.clear()
                    watch.told(Event("alive"))
                clock.sleep(_LOOK_SECONDS)
                if should_stop():
                    _stop(children)
                    raise Interrupted("stopped on request.")
    except Interrupted:
        raise
    except BaseException:
        _stop(children)
        raise
    failed = [child for child in children if child.returncode != 0]
    if len(failed) == len(children):
        said = [log.read_text(encoding="utf-8", errors="replace").strip().splitlines() for log in logs]
        last = next((lines[-1] for lines in said if lines), f"exit code {failed[0].returncode}")
        raise TrainingError(
            f"the workers of this search ended: {last}", where=str(folder.path),
            remedy=f"Mend that, then go on with: luthier search --resume {folder.path}", code="workers_failed",
        )  # fmt: skip
    for child in failed:
        text = f"a worker ended early (exit code {child.returncode}); the others took its trial up again."
        watch.told(Event("message", text, "warn"))


def _start(
    command: list[str], log: Path, journal: Journal | None, alive: threading.Event
) -> subprocess.Popen[bytes]:  # fmt: skip
    with open_log(log) as errors:
        if journal is None:
            return subprocess.Popen(command, env=_environment(), stdout=subprocess.DEVNULL, stderr=errors)
        ours, theirs = socket.socketpair()
        with theirs:
            child = subprocess.Popen(
                [*command, "--journal", str(theirs.fileno())], env=_environment(), stdout=subprocess.DEVNULL,
                stderr=errors, pass_fds=[theirs.fileno()],
            )  # fmt: skip
        serve(journal, ours, alive.set)
        return child


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
