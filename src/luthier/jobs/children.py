"""Processes of ours: started without a shell, in a group of their own, gone when their parent is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from luthier.core import allocator, clock
from luthier.core.children import die_with_parent

_KEPT = (
    "PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME",
    "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_HOME", "CUDA_VISIBLE_DEVICES", "HF_HOME",
    "HF_HUB_CACHE", "XDG_CACHE_HOME", "XDG_DATA_HOME", "LUTHIER_LEDGER", "LUTHIER_PRICES", "SYSTEMROOT",
)  # fmt: skip
"""What a child may know of our environment: no key, no address of a database, no credentials of a store."""


def minimal_environment(**more: str) -> dict[str, str]:
    """The environment of a child: what is needed to start, no network for models, and `more`."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return {**kept, **offline, "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1", **more}


def tracking_environment() -> dict[str, str]:
    """The logins of trackers, for a child that mirrors a run; no other child has them."""
    return {name: value for name, value in os.environ.items() if name.startswith(("MLFLOW_TRACKING_", "WANDB_"))}


def computing_environment(device: str, **more: str) -> dict[str, str]:
    """`minimal_environment` for a process that trains on `device` (cpu, cuda:0, ...)."""
    kind, _, number = device.partition(":")
    visible = {"CUDA_VISIBLE_DEVICES": number or "0"} if kind == "cuda" else {"CUDA_VISIBLE_DEVICES": ""}
    # Deterministic matrix products on a GPU need a workspace of fixed size.
    own = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"} if kind == "cuda" else allocator.SETTINGS
    return minimal_environment(**visible, **own, **more)


def devices_here() -> tuple[str, ...]:
    """The devices that jobs can run on, without asking torch: each NVIDIA card, or the processor."""
    cards = Path("/proc/driver/nvidia/gpus")
    count = len(list(cards.iterdir())) if cards.is_dir() else 0
    return tuple(f"cuda:{number}" for number in range(count)) or ("cpu",)


def begin_checking(parent: int, memory_bytes: int) -> bytes:
    """What a process that checks data does first: it goes with its parent, takes no more than `memory_bytes`, and
    gives way to others. Gives the line that it is asked with; empty when who asked is gone."""
    die_with_parent(parent)
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    os.nice(5)
    return sys.stdin.buffer.readline()


def started_at(pid: int) -> str:
    """When a process started, in the kernel's ticks since boot; empty when there is none (or no /proc)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] in ("Z", "X") else fields[19]


def own_name() -> str:
    """A name that no other process has, now or before: machine, process id and start."""
    return f"{socket.gethostname()}:{os.getpid()}:{started_at(os.getpid()) or clock.now().isoformat()}"


def end_stale(pid: int, start: str) -> None:
    """Kill the process group of `pid`, if that is still the process that started at `start`."""
    if start and started_at(pid) == start:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


@dataclass(frozen=True)
class Child:
    """A process that leads a group. It must be started by a thread that lives as long as the child may."""

    process: subprocess.Popen[bytes]
    start: str

    @classmethod
    def spawn(
        cls,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        stdout: int | IO[Any] = subprocess.DEVNULL,
        stderr: int | IO[Any] = subprocess.DEVNULL,
        descriptors: Sequence[int] = (),
    ) -> Child:
        """Start ``python argv...``; its stdin is a pipe from us."""
        process = subprocess.Popen(
            [sys.executable, *argv],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            env=dict(environment),
            pass_fds=tuple(descriptors),
            process_group=0,
        )
        return cls(process, started_at(process.pid))

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, line: bytes) -> bool:
        """Write to its stdin; False when it is not there to read."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line)
            self.process.stdin.flush()
        except (OSError, ValueError):
            return False
        return True

    def hang_up(self) -> None:
        """Close its stdin."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def ask_to_stop(self) -> None:
        """SIGTERM to the process itself."""
        if self._there():
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to its whole group."""
        if self._there():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def wait(self, seconds: float | None = None) -> int | None:
        """Its exit status; None when it has not ended in time."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> None:
        """Kill it, wait for it and close what connects us."""
        self.kill()
        self.process.wait()
        self.hang_up()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def peak_bytes(self) -> int:
        """The most memory that it has used so far, as far as the kernel tells."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return 0

    def _there(self) -> bool:
        """Whether the process id is still that of this child."""
        return self.process.poll() is None and started_at(self.pid) == self.start


def oom_kills() -> int:
    """How often the kernel has ended a process of our control group for want of memory."""
    with contextlib.suppress(OSError, ValueError):
        own = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
        places = [line.partition("::")[2] for line in own if line.startswith("0::")]
        for place in (*places, ""):
            events = Path(f"/sys/fs/cgroup{place.rstrip('/')}/memory.events")
            if events.is_file():
                counts = dict(line.split() for line in events.read_text(encoding="utf-8").splitlines())
                return int(counts.get("oom_kill", 0))
    return 0
