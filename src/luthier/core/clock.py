"""The only source of time, so that tests can replace it."""

from __future__ import annotations

import os
import random
import time
from datetime import UTC, datetime


def now() -> datetime:
    """The wall-clock time, UTC, for what people read."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Seconds that never go back, for durations."""
    return time.perf_counter()


def since_start() -> float:
    """Seconds since this process was started, its imports included; 0 where the system does not tell."""
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as stat:
            began = int(stat.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - began)
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0


def processor() -> float:
    """Seconds that this process has computed, on all cores together."""
    return time.process_time()


# Not the generator of the random module: a thread that waits would take numbers from the training beside it.
_jitter = random.Random()


def backoff(first: float, attempt: int) -> float:
    """Seconds to wait after the failure of `attempt` (from 1): `first`, doubled each time, times 0.5 to 1.5, so that
    those who failed together do not come back together ("Exponential Backoff And Jitter", AWS, 2015)."""
    return first * float(2 ** (attempt - 1)) * (0.5 + _jitter.random())


def sleep(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)
