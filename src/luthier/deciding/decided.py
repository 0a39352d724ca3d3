"""What a decision found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.approaches.arm import Arm, Prices
from luthier.approaches.verdict import Decision
from luthier.deciding.rows import DecisionRows
from luthier.evaluate.report import strict


@dataclass(frozen=True)
class Decided:
    """What `decide` found; `path` holds decision.json, decision.html, and the runs of the arms that were trained."""

    path: Path
    rows: DecisionRows
    arms: list[Arm]
    decision: Decision
    prices: Prices
    metric: str
    notes: list[str]
    seconds: float
    confirmed: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON, as `luthier decide --json` prints it."""
        found: dict[str, Any] = strict(
            {
                "task": self.rows.task,
                "metric": self.metric,
                "rows": {
                    "train": len(self.rows.train),
                    "validation": len(self.rows.validation),
                    "held_out": len(self.rows.held_out),
                },
                "arms": [arm.to_dict(self.prices) | {"second_half": arm.second_half} for arm in self.arms],
                "verdict": self.decision.to_dict(),
                "prices": {
                    "hour": self.prices.hour,
                    "prompt": self.prices.prompt,
                    "completion": self.prices.completion,
                },
                "notes": self.notes,
                "seconds": self.seconds,
                "confirmed": self.confirmed,
                "path": str(self.path),
            }
        )
        return found
