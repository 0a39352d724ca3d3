"""The clock of this process: ends what tells of nothing for long, where the time for it is over."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from luthier.core.errors import DataError

_AGAIN = 3.0
"""Seconds until it rings again: what is raised inside of a destructor is lost."""


class TimeIsUp(BaseException):
    """Something was ended because its time was over; what it had saved is kept. No `Exception`: nobody who handles
    the mistakes of a run may take it for one."""


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raise `TimeIsUp` in what runs inside, between two of its lines, when `seconds` are over. Only the main thread
    can be rung at, and only where the system has this signal; elsewhere what runs is asked at its events."""
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return
    seconds = max(seconds, 1e-3)
    before = signal.signal(signal.SIGALRM, _ring)
    others, interval = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    try:
        yield
    finally:
        left, _ = signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
        if others:  # somebody else's, who set it before; after a ring `left` is of the next one, so that it comes late
            signal.setitimer(signal.ITIMER_REAL, max(1e-3, others - max(0.0, seconds - left)), interval)


@contextmanager
def starting(budget: float, spent: float) -> Iterator[None]:
    """Whatever has to be there before a run of so many seconds can begin: imports, on a machine that is too busy.

    Raises `DataError` (`budget_too_small`) when the budget is over.
    """
    try:
        with alarm(budget - spent):
            yield
    except TimeIsUp:
        raise late() from None


def late(where: str = "") -> DataError:
    """A budget was over before there was anything to keep."""
    return DataError(
        "the budget was used up before there was a first result.", where=where,
        remedy="Give a longer budget, or fewer rows.", code="budget_too_small",
    )  # fmt: skip


def _ring(number: int, frame: FrameType | None) -> None:
    raise TimeIsUp
