"""Workers of a search as processes of one thread each; they end with the process that started them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from luthier.core import allocator, clock
from luthier.core.durable_files import open_log
from luthier.core.errors import Interrupted, TrainingError
from luthier.core.events import Event
from luthier.searching.clockwork import Clockwork
from luthier.searching.folder import SearchFolder
from luthier.searching.watching import Watch

_LOOK_SECONDS = 0.5
_STOP_SECONDS = 120.0
"""How long a worker may take to save its trial after it was asked to stop."""


def run_workers(folder: SearchFolder, number: int, clockwork: Clockwork, watch: Watch) -> None:
    """Start so many workers and watch the journal until all are done.

    Raises:
        Interrupted: after a signal; every worker has saved its trial.
        TrainingError: every worker ended with an error; what one of them said.
    """
    command = [
        sys.executable, "-m", "luthier.searching.worker", str(folder.path), "--parent", str(os.getpid()),
        "--spent", f"{clockwork.elapsed:.3f}",
    ]  # fmt: skip
    logs = [folder.path / "locks" / f"worker-{os.getpid()}-{i}.log" for i in range(number)]
    children = [_start(command, log) for log in logs]
    try:
        while any(child.poll() is None for child in children):
            watch.look()
            clock.sleep(_LOOK_SECONDS)
    except KeyboardInterrupt:
        _stop(children)
        raise Interrupted("stopped on request.") from None
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


def _start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with open_log(log) as errors:
        return subprocess.Popen(command, env=_environment(), stdout=subprocess.DEVNULL, stderr=errors)


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
