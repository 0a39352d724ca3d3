"""What the worker of a job of many parts (a search, a decision, an automatic run) says becomes the job's events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from luthier.core import clock
from luthier.jobs.records import NewEvent
from luthier.jobs.telling import plain_text, seconds_of, told

PARTS = "part:"
"""Before the name of a part (a trial, an arm, a candidate), in the keys of events that tell of it."""


class Progress:
    """Takes a worker's lines in order and gathers what is to be recorded, as `telling.Telling` does for trainings.

    A line of the kind ``progress`` has the data ``part`` (its name), ``change`` (what makes this news of it another one
    than the last), ``done`` and ``total``, ``seconds_left`` or None, and ``about``: what is told of the part.
    """

    def __init__(self, named: Callable[[str], str]) -> None:
        self._named = named
        self.events: list[NewEvent] = []
        self.step: int | None = None
        self.total_steps: int | None = None
        self.estimated_finish: int | None = None
        self.chosen: dict[str, Any] | None = None

    def take(self, line: dict[str, Any]) -> None:
        """One event of the run."""
        data = line.get("data") or {}
        if line["kind"] == "progress":
            self._part(line, data)
        elif line["kind"] == "message":
            self.events += told(self._named(line.get("message", "")), line.get("level", "info"), seconds_of(line))

    def taken(self) -> list[NewEvent]:
        """The events so far, which are the caller's from now on."""
        events, self.events = self.events, []
        return events

    def close(self) -> None:
        """Nothing more comes."""

    def _part(self, line: dict[str, Any], data: dict[str, Any]) -> None:
        self.step, self.total_steps = int(data["done"]), int(data["total"])
        left = data.get("seconds_left")
        if isinstance(left, int | float) and left >= 0:
            self.estimated_finish = int(clock.now().timestamp() + left)
        words = self._clean(line.get("message", "")) or str(data["part"])
        about = {"part": str(data["part"]), "about": self._clean(data["about"])}
        self.events.append(
            NewEvent(
                f"{PARTS}{data['part']}:{data['change']}", words, level=line.get("level", "info"), data=about,
                created_at=seconds_of(line),
            )
        )  # fmt: skip

    def _clean(self, value: Any) -> Any:
        """Without our paths, and without what no database can hold."""
        if isinstance(value, str):
            return plain_text(self._named(value))
        if isinstance(value, dict):
            return {plain_text(name): self._clean(item) for name, item in value.items()}
        return [self._clean(item) for item in value] if isinstance(value, list) else value
