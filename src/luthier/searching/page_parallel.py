"""The trials of a search as lines through its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from luthier.evaluate.chart_scale import tick_name
from luthier.evaluate.metric_names import metric_name
from luthier.evaluate.parallel_picture import Axis, Line, parallel
from luthier.evaluate.report import told

MOST_AXES = 10


def parallel_of(report: Mapping[str, Any]) -> str:
    """The picture of a search.json value; "" for fewer than two trials with a result."""
    trials = [trial for trial in report["trials"] if trial["value"] is not None]
    if len(trials) < 2:
        return ""
    parameters = [p for p in report["parameters"] if any(p["name"] in trial["params"] for trial in trials)]
    parameters = parameters[: MOST_AXES - 1]
    axes = [_axis(parameter, trials) for parameter in parameters]
    values = [trial["value"] for trial in trials]
    metric = report["metric"]
    low, high = min(values), max(values)
    middle = (low + high) / 2
    axes.append(Axis(metric_name(metric).title, [(v, told(metric, v)) for v in dict.fromkeys((low, middle, high))]))
    sign = 1.0 if report["higher_is_better"] else -1.0
    order = sorted(trials, key=lambda trial: (trial["state"] != "complete", -trial["epoch"], -sign * trial["value"]))
    best = report["best"]["trial"] if report["best"] else None
    lines = []
    for place, trial in enumerate(order):
        found = [_value(parameter, trial) for parameter in parameters]
        state = "" if trial["state"] == "complete" else f", {trial['state']} after epoch {trial['epoch']}"
        name = f"trial {trial['number']}: {told(metric, trial['value'])}{state}"
        rank = place / max(1, len(order) - 1)
        lines.append(Line(name, [*found, trial["value"]], rank, trial["number"] == best))
    note = (
        "One line per trial: the best one thick, the best quarter in colour. A line below an axis belongs to a trial "
        "without that parameter. The values are in the table of trials."
    )
    return parallel("Parameters and result of each trial", axes, lines, note)


def _axis(parameter: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]) -> Axis:
    choices = parameter["choices"]
    if choices is not None:
        ticks = [(float(i), str(choice)) for i, choice in enumerate(choices)]
        return Axis(parameter["name"], ticks if len(ticks) > 1 else [*ticks, (1.0, "")])
    low, high, is_log = parameter["low"], parameter["high"], parameter["log"]
    middle = (low * high) ** 0.5 if is_log else (low + high) / 2
    return Axis(parameter["name"], [(v, _told(v)) for v in (low, middle, high)], is_log)


def _told(value: float) -> str:
    return f"{value:.2g}" if 0 < abs(value) < 0.01 else tick_name(round(value, 4))


def _value(parameter: Mapping[str, Any], trial: Mapping[str, Any]) -> float | None:
    value = trial["params"].get(parameter["name"])
    if parameter["name"] not in trial["params"]:
        return None
    if parameter["choices"] is None:
        return float(value)
    for place, choice in enumerate(parameter["choices"]):
        if choice == value and type(choice) is type(value):
            return float(place)
    return None
