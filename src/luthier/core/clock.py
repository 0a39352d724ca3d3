"""The only source of time, so that tests can replace it."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> datetime:
    """The wall-clock time, UTC, for what people read."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Seconds that never go back, for durations."""
    return time.perf_counter()


def processor() -> float:
    """Seconds that this process has computed, on all cores together."""
    return time.process_time()


def sleep(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)
