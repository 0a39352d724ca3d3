"""What every mirror of a run can do, and how a run is told in words that all of them know."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from luthier.core.errors import LuthierError
from luthier.core.events import Event

_STEP = {
    "loss": "train_loss", "grad_norm": "grad_norm", "learning_rate": "learning_rate",
    "tokens_per_second": "tokens_per_second", "token_accuracy": "train_token_accuracy",
}  # fmt: skip
ARTEFACTS = ("recipe.yaml", "report.html", "report.json", "README.md", "data.json")
"""Files of a run that go with it. Data do not; model/ goes besides, where the mirror has a place for models."""


class TrackingError(LuthierError):
    """A mirror cannot be reached, refuses, or is not installed."""

    default_code = "tracking_failed"


@dataclass(frozen=True, slots=True)
class Point:
    """Metrics of one step. `seconds` is the time of day in seconds since 1970."""

    step: int
    seconds: float
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class End:
    """How a run ended: finished, interrupted or failed; of a finished one its report."""

    status: str
    report: Mapping[str, Any] = field(default_factory=dict)


class Mirror(Protocol):
    """One place where a run is told again. All calls come from one thread, in the order of the run.

    Any of them may raise `TrackingError`; nothing more is sent after that.
    """

    name: str

    def start(self, run: Path, parameters: Mapping[str, str]) -> str:
        """Begin, or go on with what an earlier start of the same run began. Gives where a person finds it."""

    def log(self, points: list[Point]) -> None:
        """Metrics, in the order of their steps."""

    def finish(self, run: Path, end: End) -> None:
        """The end, with the run's artefacts when it is finished."""

    def close(self) -> None:
        """Give back what is open; called once, whatever happened."""


def parameters_of(recipe: Mapping[str, Any]) -> dict[str, str]:
    """A recipe's values by dotted key, as text; without what is not set and what belongs to the mirror itself."""
    found: dict[str, str] = {}

    def walk(value: Any, name: str) -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                walk(item, f"{name}.{key}" if name else str(key))
        elif value is not None and value != []:
            found[name] = str(value)

    walk({key: value for key, value in recipe.items() if key not in ("track", "out")}, "")
    return found


def point_of(event: Event, seconds: float) -> Point | None:
    """The metrics of a step or of an evaluation; None for other events."""
    data = event.data
    if event.kind == "step":
        metrics = {name: data[key] for key, name in _STEP.items() if key in data}
    elif event.kind == "evaluation":
        metrics = {name: data[name] for name in ("validation_loss", "validation_accuracy") if name in data}
        if data.get("metric_name") and data["metric_name"] != "loss":
            metrics[f"validation_{data['metric_name']}"] = data["validation_metric"]
    else:
        return None
    return Point(int(data["step"]), seconds, _finite(metrics))


def final_metrics(report: Mapping[str, Any]) -> dict[str, float]:
    """The judged metrics of a report with the ends of their intervals, and what the run cost."""
    where = str(report.get("evaluated_on") or "held-out").replace("-", "_")
    found: dict[str, Any] = {}
    for name, cell in (report.get("metrics") or {}).items():
        found[f"{where}_{name}"] = cell.get("value")
        for side in ("low", "high"):
            found[f"{where}_{name}_{side}"] = cell.get(side)
    for name in ("seconds", "tokens", "peak_memory_bytes", "trainable_parameters"):
        found[name] = (report.get("cost") or {}).get(name)
    return _finite(found)


def _finite(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if value is not None and math.isfinite(value)}
