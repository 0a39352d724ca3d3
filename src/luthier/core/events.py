"""What a run says while it works: one stream, many listeners (terminal, files, later a server)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from luthier.core import clock

Level = Literal["info", "warn", "error"]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    `kind` is one of: message, gate, size, forecast, freezing (rows whose frozen layers are computed), step, judging,
    evaluation, sample, saving, checkpoint, finished, proving, interrupted, failed, trial (of a search or an automatic
    run), known (a trial of an earlier sitting), alive.
    `data` is JSON. `SIGNALS` are told before something begins, and are not kept.
    """

    kind: str
    message: str = ""
    level: Level = "info"
    data: dict[str, Any] = field(default_factory=dict)
    created_at: str = field(default_factory=lambda: clock.now().isoformat(timespec="milliseconds"))

    def to_dict(self) -> dict[str, Any]:
        """The event as one JSON line."""
        return {
            "created_at": self.created_at,
            "kind": self.kind,
            "level": self.level,
            "message": self.message,
            "data": self.data,
        }


SIGNALS = ("freezing", "judging", "saving", "proving")
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The listener of those who do not listen."""
