"""Where the time of a run goes: its events, held against the clock."""

from __future__ import annotations

from luthier.core import clock
from luthier.core.events import Event


class StageClock:
    """Seconds by stage (`search.stages.STAGES`), from the events of one run, told in order."""

    def __init__(self) -> None:
        self.began = self._since = clock.monotonic()
        self.seconds: dict[str, float] = {}
        self.stage = "setup"
        self.steps = 0

    @property
    def total(self) -> float:
        """Seconds since the beginning."""
        return clock.monotonic() - self.began

    def take(self, event: Event) -> None:
        """One event."""
        kind, data = event.kind, event.data
        if kind == "step":
            self._step(float(data["tokens"]) / max(float(data["tokens_per_second"]), 1e-9))
        elif kind == "gate" and self.stage == "setup":
            self.enter("gates")
        elif kind == "size":
            self.enter("cache")
        elif kind == "message" and "cache_reused" in data:
            self.enter("samples")
        elif kind == "sample" and self.stage == "cache":
            self.stage = "samples"  # without a cache, what came before this first answer was spent on it
        elif kind == "judging":
            self.enter("validation")
        elif kind == "evaluation":
            self.enter("samples")
        elif kind == "saving":
            self.enter("saving")
        elif kind == "checkpoint":
            self.enter("steps")
        elif kind == "finished":
            self.enter("finish")
        elif kind == "proving":
            self.enter(str(data["part"]))

    def enter(self, stage: str) -> None:
        """What comes from now on is of `stage`."""
        now = clock.monotonic()
        self._credit(now - self._since)
        self.stage, self._since = stage, now

    def end(self) -> dict[str, float]:
        """The run is over: seconds by stage."""
        self.enter("end")
        return dict(self.seconds)

    def _step(self, own: float) -> None:
        """A step of `own` seconds has ended; what lies before it is of the stage that it ends."""
        now = clock.monotonic()
        own = min(own, now - self._since)
        self._credit(now - self._since - own)
        self.stage, self._since = "steps", now
        self._credit(own)
        self.steps += 1

    def _credit(self, seconds: float) -> None:
        if self.stage != "end":
            self.seconds[self.stage] = self.seconds.get(self.stage, 0.0) + seconds
