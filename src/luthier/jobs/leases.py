"""Who is still at work: a lease is measured by this process's own monotonic clock.

Each heartbeat raises a number in the job's row. Every process notes when it last saw the number rise; a job whose
number stood still for the length of a lease, as this process counts seconds, has lost its supervisor. No time of day
is compared with another, neither of two machines nor of the database, so a clock that jumps rescues nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from types import ModuleType


class Leases:
    """The last sign of life of each running job."""

    def __init__(self, clock: ModuleType, *, exclusive: bool) -> None:
        """`exclusive`: no other process can run jobs of this database, so one that this process has never seen at
        work belongs to a process that is gone."""
        self._clock = clock
        self._exclusive = exclusive
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[tuple[int, int], float]] = {}

    def saw(self, job: str, fence: int, beats: int) -> None:
        """The supervisor in this process has just given a sign."""
        with self._lock:
            self._seen[job] = ((fence, beats), self._clock.monotonic())

    def silent_seconds(self, job: str, fence: int, beats: int) -> float:
        """Since when the job's supervisor has been silent, as far as this process knows."""
        with self._lock:
            now = self._clock.monotonic()
            sign, since = self._seen.get(job, (None, now))
            if sign is None and self._exclusive:
                return float("inf")
            if sign != (fence, beats):
                self._seen[job] = ((fence, beats), now)
                return 0.0
            return float(now - since)

    def keep(self, running: Collection[str]) -> None:
        """Forget the jobs that do not run any more."""
        with self._lock:
            self._seen = {job: seen for job, seen in self._seen.items() if job in running}
