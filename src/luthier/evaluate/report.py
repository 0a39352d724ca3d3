"""The report as one JSON value: what was trained, how good it is, against what, and at what cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from luthier.evaluate.comparison import PEOPLE_CALL_IT, Comparison
from luthier.evaluate.evaluation import Evaluation
from luthier.evaluate.metric_names import metric_name
from luthier.evaluate.overfitting import Overfitting

COST_KEYS = ("seconds", "tokens", "tokens_per_second", "peak_memory_bytes", "trainable_parameters", "total_parameters")


def build_report(
    *,
    task: str,
    model: str,
    method: str,
    evaluation: Evaluation,
    data: Mapping[str, Any],
    cost: Mapping[str, Any],
    baselines: Mapping[str, Evaluation] | None = None,
    comparisons: Sequence[Comparison] = (),
    curves: Sequence[Mapping[str, Any]] = (),
    validation_metric: str = "",
    overfitting: Overfitting | None = None,
    calibration: Mapping[str, Any] | None = None,
    forgetting: Mapping[str, Any] | None = None,
    fairness: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
    warnings: Sequence[str] = (),
    reproduce: str = "",
    recipe: str = "",
    load_hint: str = "",
    license: str = "",
    base_model: str = "",
    created_at: str = "",
    evaluated_on: str = "test",
) -> dict[str, Any]:
    """Everything that report.json holds; strict JSON (no NaN).

    Args:
        evaluation: of the tuned model; `baselines` of the others, on the same rows.
        comparisons: from `compare_evaluations`.
        curves: points {step, epoch, train_loss, validation_loss, validation_metric}.
        calibration: what was fitted, for example {"temperature": 1.3}; joined with the evaluation's bins.
        cost: `COST_KEYS`; a missing one is None.
        reproduce: the command; `recipe`: the resolved recipe as YAML; `load_hint`: how to load the model.
        license: of the tuned model; `base_model`: its hub id, for the model card.
        evaluated_on: the name of the rows, "test" or "validation".
    """
    judged = evaluation.to_dict()
    found_calibration = {**(evaluation.calibration or {}), **(calibration or {})}
    report = {
        "task": task,
        "model": model,
        "method": method,
        "created_at": created_at,
        "verdict": verdict_sentence(evaluation, comparisons, evaluated_on),
        "primary_metric": evaluation.primary,
        "several_labels": evaluation.several_labels,
        "evaluated_on": evaluated_on,
        "rows": evaluation.rows,
        "labels": evaluation.labels,
        "metrics": judged["metrics"],
        "baselines": {name: other.to_dict()["metrics"] for name, other in (baselines or {}).items()},
        "comparisons": [comparison.to_dict() for comparison in comparisons],
        "curves": list(curves),
        "validation_metric": validation_metric,
        "overfitting": overfitting.to_dict() if overfitting else None,
        "calibration": found_calibration or None,
        "per_class": judged["per_class"],
        "confusion": judged["confusion"],
        "worst_errors": judged["worst_errors"],
        "forgetting": forgetting,
        "fairness": fairness,
        "data": data,
        "cost": {**dict.fromkeys(COST_KEYS), **cost},
        "environment": environment or {},
        "warnings": [*warnings, *evaluation.notes],
        "reproduce": reproduce,
        "recipe": recipe,
        "load_hint": load_hint,
        "license": license,
        "base_model": base_model,
    }
    plain: dict[str, Any] = strict(report)
    return plain


def strict(value: Any) -> Any:
    """Plain JSON: NumPy numbers and arrays become Python's, NaN and infinity become None."""
    if isinstance(value, Mapping):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return strict(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [strict(item) for item in value]
    if isinstance(value, np.generic):
        return strict(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def told(metric: str, value: float | None) -> str:
    """A metric's value as sentences tell it: shares in percent."""
    if value is None or not math.isfinite(value):
        return "undefined"
    return f"{100 * value:.1f} %" if metric_name(metric).is_share else f"{value:.3g}"


def verdict_sentence(evaluation: Evaluation, comparisons: Sequence[Comparison], evaluated_on: str = "test") -> str:
    """The whole result in one sentence: the primary metric, its interval, and how it stands to the others."""
    name = evaluation.primary
    title = metric_name(name).title
    interval = evaluation.metrics.get(name)
    if interval is None:
        opening = f"{title} was not measured on {evaluation.rows:,} {evaluated_on} rows"
    else:
        opening = f"{title} {told(name, interval.value)} on {evaluation.rows:,} {evaluated_on} rows"
        if math.isfinite(interval.low):
            low, high = told(name, interval.low).removesuffix(" %"), told(name, interval.high)
            opening += f" (95 % interval {low} to {high})"
    parts = []
    better = [one for one in comparisons if one.verdict == "better"]
    # the strongest rival is the one told with its distance
    better.sort(key=lambda one: (one.metric != name, one.difference.value))
    if better:
        parts.append("it is " + better[0].sentence)
        if len(better) > 1:
            parts.append("better than " + listed([_called(one) for one in better[1:]]))
    tied = [_called(one) for one in comparisons if one.verdict == "cannot tell them apart"]
    if tied:
        parts.append(("" if parts else "it ") + "cannot be told apart from " + listed(tied))
    parts += [("" if parts else "it is ") + one.sentence for one in comparisons if one.verdict == "worse"]
    return opening + (": " + listed(parts) if parts else "") + "."


def _called(comparison: Comparison) -> str:
    return PEOPLE_CALL_IT.get(comparison.name, comparison.name)


def listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
