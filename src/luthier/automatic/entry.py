"""One candidate at work, and what the journal knows of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from luthier.search.candidates import Candidate
from luthier.search.halving import TOP, Ladder, Standing
from luthier.searching.workbench import Rung


@dataclass
class Entry:
    """A candidate that was begun.

    Attributes:
        epochs: of its whole schedule. bracket: where it begins to climb.
        rungs: what it reached, by rung.
    """

    number: int
    candidate: Candidate
    epochs: int
    bracket: int
    rungs: dict[int, Rung] = field(default_factory=dict)
    state: Literal["running", "paused", "complete", "failed"] = "paused"
    error: str = ""
    at: float = 0.0
    """Seconds of the budget when its last result came."""

    @property
    def last(self) -> Rung | None:
        """Its highest rung."""
        return self.rungs[max(self.rungs)] if self.rungs else None

    def first_rung(self, ladder: Ladder) -> int:
        """Where it begins."""
        return ladder.first(self.epochs, self.bracket)

    def reached(self, rung: int, result: Rung, at: float) -> None:
        """Note a result; at the top, or when patience ended it, the candidate is complete."""
        self.rungs[rung], self.at = result, at
        self.state = "complete" if rung == TOP or result.stopped_early else "paused"

    def standing(self, ladder: Ladder, *, higher_is_better: bool) -> Standing:
        """For `search.halving`."""
        sign = 1.0 if higher_is_better else -1.0
        scores = {rung: sign * result.value for rung, result in self.rungs.items()}
        rung = max(scores, default=self.first_rung(ladder))
        return Standing(self.number, self.state, rung, scores, self.bracket)

    @property
    def seconds(self) -> float:
        """Of its training so far."""
        return self.last.seconds if self.last else 0.0

    @property
    def seconds_of_all(self) -> float | None:
        """Of its whole schedule, about."""
        last = self.last
        if last is None:
            return None
        return last.seconds if self.state == "complete" else last.seconds * self.epochs / max(1, last.epoch)


def begun(entry: Entry) -> dict[str, Any]:
    """The journal's line for a candidate that begins."""
    one = entry.candidate
    return {
        "kind": "begun", "number": entry.number, "epochs": entry.epochs, "bracket": entry.bracket,
        "candidate": {"name": one.name, "changes": dict(one.changes), "kind": one.kind, "cost": one.cost,
                      "is_closed": one.is_closed},
    }  # fmt: skip


def reached(entry: Entry, rung: int, result: Rung, elapsed: float) -> dict[str, Any]:
    """The journal's line for a result."""
    return {"kind": "rung", "number": entry.number, "rung": rung, "elapsed": elapsed, "result": vars(result)}


def read_entries(lines: Iterable[dict[str, Any]]) -> list[Entry]:
    """The candidates as the journal has them, in the order in which they began."""
    found: dict[int, Entry] = {}
    for line in lines:
        if line["kind"] == "begun":
            one = Candidate(**line["candidate"])
            found[line["number"]] = Entry(line["number"], one, line["epochs"], line["bracket"])
        elif line["kind"] == "rung":
            found[line["number"]].reached(line["rung"], Rung(**line["result"]), line["elapsed"])
        elif line["kind"] == "failed":
            found[line["number"]].state, found[line["number"]].error = "failed", line["error"]
    return list(found.values())


def hopeful(best: Entry | None, entries: Iterable[Entry], *, higher_is_better: bool) -> list[Entry]:
    """The best, and of those that wait the best, which may still overtake it."""
    sign = 1.0 if higher_is_better else -1.0
    waiting = [(sign * one.last.value, one) for one in entries if one.state == "paused" and one.last]
    nearest = max(waiting, key=lambda pair: pair[0], default=None)
    return [one for one in (best, nearest[1] if nearest else None) if one is not None]
