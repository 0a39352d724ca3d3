"""What was tried against forgetting, kept on disk after each step."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.core import durable

STATE = "remedy.json"


@dataclass
class Attempt:
    """One run of the plan; `forgotten`, `verdict` (of its task, against the plain run) and whether that is `accepted`
    come when it is judged."""

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    run: str = ""
    seconds: float = 0.0
    outcome: str | None = None
    forgotten: float | None = None
    verdict: str | None = None
    accepted: bool = False
    sentence: str = ""
    failed: str = ""


@dataclass
class Choice:
    """What was tried, which run is kept, and why."""

    attempts: list[Attempt] = field(default_factory=list)
    chosen: str = ""
    sentence: str = ""

    @property
    def run(self) -> Path:
        """The folder of the chosen run, a run like any other."""
        return Path(next(one.run for one in self.attempts if one.name == self.chosen))

    def attempt(self, name: str) -> Attempt:
        """The one of this name; a new one at the end where there is none yet."""
        for one in self.attempts:
            if one.name == name:
                return one
        self.attempts.append(Attempt(name))
        return self.attempts[-1]

    @classmethod
    def read(cls, folder: Path) -> Choice:
        """What remedy.json in `folder` holds; nothing where there is none."""
        if not (folder / STATE).is_file():
            return cls()
        found = json.loads((folder / STATE).read_text(encoding="utf-8"))
        return cls([Attempt(**one) for one in found["attempts"]], found["chosen"], found["sentence"])

    def write(self, folder: Path) -> None:
        """Into remedy.json in `folder`, whole or not at all."""
        durable.write_json(folder / STATE, self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """JSON, as remedy.json holds it."""
        return {"attempts": [vars(one) for one in self.attempts], "chosen": self.chosen, "sentence": self.sentence}
