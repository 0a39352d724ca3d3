"""A trial as the study remembers it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from luthier.search.halving import Standing
from luthier.search.parameters import Scalar

State = Literal["running", "paused", "complete", "failed"]


@dataclass(frozen=True)
class Result:
    """What a trial had reached at a rung.

    Attributes:
        epoch: of its own epochs, after which this was measured.
        value: the validation metric.
        loss: the validation loss.
        seconds: of training since its beginning.
    """

    epoch: int
    value: float
    loss: float | None
    seconds: float


@dataclass(frozen=True)
class Trial:
    """One choice of parameters, and how far it has come.

    Attributes:
        number: from 0 on, in the order in which trials began.
        params: by name.
        state: running (somebody works on it, or did when the search was stopped), paused at a rung, complete, failed.
        bracket: of Hyperband; 0 stops earliest.
        rung: the one that it works towards, or has reached. epochs: its own; 0 as long as they are not known.
        results: by rung.
        parameters: how many train. values: of the objectives, in their order, once it is complete.
        forgetting: None where it is no objective. error: of a failed one.
        holder: of a crew's process that works on it, ``<crew>/<name>``; empty when there is none. deaths: processes
            in a row that ended while they trained it. Neither is a change that anybody is told of.
    """

    number: int
    params: Mapping[str, Scalar]
    state: State = "running"
    bracket: int = 0
    rung: int = 0
    epochs: int = 0
    results: Mapping[int, Result] = field(default_factory=dict)
    parameters: int = 0
    stopped_early: bool = False
    curve: tuple[tuple[int, float], ...] = ()
    values: tuple[float, ...] = ()
    forgetting: float | None = None
    error: str = ""
    code: str = ""
    holder: str = field(default="", compare=False)
    deaths: int = field(default=0, compare=False)

    @property
    def last(self) -> Result | None:
        """The newest result."""
        return self.results[max(self.results)] if self.results else None

    def at(self, rung: int) -> Result | None:
        """The result at a rung; of a trial that was complete before, its last one."""
        if rung in self.results:
            return self.results[rung]
        return self.last if self.state == "complete" and self.results and rung > max(self.results) else None

    @property
    def key(self) -> str:
        """Of its parameters (`key_of`)."""
        return key_of(self.params)

    @property
    def folder(self) -> str:
        """The name of its run folder."""
        return f"{self.number:04d}"

    def is_held_by(self, holder: str) -> bool:
        """Whether this process works on it, as far as anybody was told."""
        return self.state == "running" and self.holder == holder

    def standing(self, sign: float) -> Standing:
        """As `halving` compares it, where larger is better; `sign` is -1 where less is."""
        scores = {rung: sign * result.value for rung, result in self.results.items()}
        return Standing(self.number, self.state, self.rung, scores, self.bracket)

    def seconds_of_all(self) -> float | None:
        """Training seconds of its whole schedule, in proportion where it stopped before."""
        last = self.last
        if last is None or not last.epoch:
            return None
        return last.seconds if self.state == "complete" else last.seconds * self.epochs / last.epoch

    def to_record(self) -> dict[str, Any]:
        """What the journal keeps besides number and parameters."""
        record = asdict(self)
        del record["number"], record["params"]
        record["results"] = {str(rung): asdict(result) for rung, result in self.results.items()}
        return record

    @classmethod
    def from_record(cls, number: int, params: Mapping[str, Scalar], record: Mapping[str, Any]) -> Trial:
        """The trial that `to_record` wrote; keys of a newer version are passed over."""
        known = {name: value for name, value in record.items() if name in cls.__dataclass_fields__}
        known["results"] = {int(rung): Result(**result) for rung, result in record.get("results", {}).items()}
        for name in ("curve", "values"):
            known[name] = tuple(tuple(item) if isinstance(item, list) else item for item in known.get(name, ()))
        return cls(number, params, **known)


def key_of(params: Mapping[str, Scalar]) -> str:
    """Two trials with the same key have the same parameters."""
    return json.dumps(sorted(params.items()), default=str)
