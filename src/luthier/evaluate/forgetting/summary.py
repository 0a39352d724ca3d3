"""One set of general texts, judged, and all sets in one verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Outcome = Literal["forgot", "moved", "kept", "gained"]
_WORST_FIRST: tuple[Outcome, ...] = ("forgot", "moved", "kept", "gained")


@dataclass(frozen=True)
class Finding:
    """Base against tuned on one set of general texts.

    Attributes:
        measure: the name of what `base` and `tuned` are.
        forgotten: 0 for nothing; nats a token of what writes, the share of changed neighbours of what reads.
        outcome: forgot (worse by a paired test), moved (features changed, and nothing shown to be lost), kept, gained.
        tests: base, tuned, difference with interval and p-value, per metric.
        answers: what both wrote, question by question; empty for encoders.
    """

    name: str
    rows: int
    measure: str
    base: float
    tuned: float
    forgotten: float
    outcome: Outcome
    sentence: str
    tests: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: list[dict[str, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON for the report."""
        return {
            "name": self.name,
            "rows": self.rows,
            "measure": self.measure,
            "base": self.base,
            "tuned": self.tuned,
            "forgotten": self.forgotten,
            "outcome": self.outcome,
            "sentence": self.sentence,
            "tests": self.tests,
            "answers": self.answers,
        }


def summarise(findings: Sequence[Finding], curve: dict[str, Any] | None, seconds: float) -> dict[str, Any]:
    """The report's ``forgetting``: the first set's numbers stand on top; the outcome is the worst of all sets."""
    outcome = min((one.outcome for one in findings), key=_WORST_FIRST.index)
    first = findings[0]
    return {
        "verdict": " ".join(one.sentence for one in findings),
        "outcome": outcome,
        "measure": first.measure,
        "base": first.base,
        "tuned": first.tuned,
        "forgotten": first.forgotten,
        "sets": [one.to_dict() for one in findings],
        "curve": curve,
        "seconds": seconds,
    }
