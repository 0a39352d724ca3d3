"""A number between two others."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """A number, and the bounds between which the true one lies 95 times in 100."""

    value: float
    low: float
    high: float

    def to_dict(self, digits: int = 3) -> dict[str, float]:
        """JSON."""
        return {name: round(getattr(self, name), digits) for name in ("value", "low", "high")}

    def times(self, factor: float) -> Interval:
        """All three, multiplied."""
        return Interval(self.value * factor, self.low * factor, self.high * factor)
