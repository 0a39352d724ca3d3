"""What the speed of a run depends on besides its recipe, as one short word."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path


def machine_key(device: str = "cpu", threads: int | None = None) -> str:
    """Processor (or GPU), cores and threads: ``cpu-2x1-1f3a9c``. Two machines of one kind share it."""
    threads = threads or threads_here()
    kind = f"{device}|{platform.machine()}|{_processor()}"
    return f"{device.partition(':')[0]}-{cores_here()}x{threads}-{hashlib.sha256(kind.encode()).hexdigest()[:6]}"


def cores_here() -> int:
    """Cores of the machine."""
    return os.cpu_count() or 1


def threads_here() -> int:
    """Threads that a run will use, as far as the environment and the affinity tell (torch is not asked)."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        given = os.environ.get(name, "")
        if given.isdigit() and int(given) > 0:
            return int(given)
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else cores_here()


def memory_bytes() -> int | None:
    """Memory of the machine; None where it cannot be told."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
