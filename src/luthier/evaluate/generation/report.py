"""The report of a run that writes, with the keys of every report and the answers side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from luthier.evaluate.comparison import PEOPLE_CALL_IT, Comparison, distance
from luthier.evaluate.generation.evaluation import GenerationEvaluation
from luthier.evaluate.generation.worst import shown
from luthier.evaluate.intervals import Interval
from luthier.evaluate.metric_names import metric_name
from luthier.evaluate.overfitting import Overfitting
from luthier.evaluate.report import COST_KEYS, listed, strict, told


def build_language_report(
    *,
    evaluation: GenerationEvaluation | None,
    baselines: Mapping[str, GenerationEvaluation],
    comparisons: Sequence[Comparison],
    samples: Sequence[Mapping[str, Any]] = (),
    notes: Mapping[str, Any] | None = None,
    overfitting: Overfitting | None = None,
    memorisation: Mapping[str, Any] | None = None,
    evaluated_on: str = "test",
    validation_metric: str = "loss",
    fairness: Mapping[str, Any] | None = None,
    forgetting: Mapping[str, Any] | None = None,
    **shared: Any,
) -> dict[str, Any]:
    """Everything that report.json holds; strict JSON (no NaN).

    Args:
        evaluation: of the tuned model, None where there were no held-out rows.
        memorisation: what the module of this name found. samples: from `side_by_side`.
        notes: tokens learned and saved by shared prefixes.
        shared: what every report has: task, model, method, data, cost, curves, environment, warnings, reproduce,
            recipe, load_hint, license, base_model, created_at.
    """
    judged = evaluation.to_dict() if evaluation is not None else {}
    report = {
        "evaluated_on": evaluated_on,
        "verdict": "Nothing was proved: there were no held-out rows."
        if evaluation is None
        else language_verdict(evaluation, comparisons, evaluated_on),
        "primary_metric": "loss",
        "headline_metric": judged.get("headline"),
        "several_labels": False,
        "labels": [],
        "rows": judged.get("rows", 0),
        "answered": judged.get("answered", 0),
        "metrics": judged.get("metrics", {}),
        "baselines": {name: other.to_dict()["metrics"] for name, other in baselines.items()},
        "comparisons": [comparison.to_dict() for comparison in comparisons],
        "validation_metric": validation_metric,
        "overfitting": overfitting.to_dict() if overfitting else None,
        "calibration": None,
        "per_class": {},
        "confusion": None,
        "forgetting": forgetting,
        "fairness": fairness,
        "memorisation": memorisation,
        "samples": list(samples),
        "examples": judged.get("examples", []),
        "worst_rows": judged.get("worst_rows", []),
        "worst_errors": judged.get("worst_errors", []),
        "notes": dict(notes or {}),
        **shared,
        "cost": {**dict.fromkeys(COST_KEYS), **shared["cost"]},
        "warnings": [*shared.get("warnings", ()), *(evaluation.notes if evaluation is not None else ())],
    }
    plain: dict[str, Any] = strict(report)
    return plain


def language_verdict(
    evaluation: GenerationEvaluation, comparisons: Sequence[Comparison], evaluated_on: str = "test"
) -> str:
    """The whole result in one sentence: "Loss on 200 test rows 1.31 (95 % interval ...), against 2.94 of the untuned
    base: better by 1.63 (95 % interval ...)"."""
    parts = [_told("loss", evaluation.metrics["loss"], f" on {evaluation.rows:,} {evaluated_on} rows")]
    parts[0] += _against([one for one in comparisons if one.metric == "loss"])
    headline = evaluation.headline
    if headline is not None:
        answers = f" on {evaluation.answered:,} answers"
        telling = _told(headline, evaluation.metrics[headline], answers)
        parts.append(telling + _against([one for one in comparisons if one.metric == headline]))
    return "; ".join(parts) + "."


def _told(metric: str, interval: Interval, where: str) -> str:
    found = f"{metric_name(metric).title}{where} {told(metric, interval.value)}"
    if interval.to_dict()["low"] is None:
        return found
    low, high = told(metric, interval.low).removesuffix(" %"), told(metric, interval.high)
    return f"{found} (95 % interval {low} to {high})"


def _against(comparisons: Sequence[Comparison]) -> str:
    """", against 2.94 of the untuned base: better by ..."; of several, each."""
    if not comparisons:
        return ""
    theirs = listed([f"{told(one.metric, one.theirs)} of {_called(one)}" for one in comparisons])
    if len(comparisons) == 1:
        return f", against {theirs}: {_outcome(comparisons[0])}"
    return f", against {theirs}: " + listed([f"{_outcome(one)} for {_called(one)}" for one in comparisons])


def _called(comparison: Comparison) -> str:
    return PEOPLE_CALL_IT.get(comparison.name, comparison.name)


def _outcome(comparison: Comparison) -> str:
    if comparison.verdict == "cannot tell them apart":
        return "they cannot be told apart"
    ahead = distance(comparison.metric, comparison.difference, comparison.verdict, named=False)
    return f"{comparison.verdict} {ahead}"


def side_by_side(events: Iterable[Mapping[str, Any]], final_step: int | None = None) -> list[dict[str, Any]]:
    """The answers to each question in order of steps, from a run's events (kind ``sample``).

    `final_step` is the step of the state that was kept. A question asked again at the same step, as by a run that
    was resumed, counts once, the last time.
    """
    questions: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for event in events:
        if event.get("kind") == "sample":
            data = event["data"]
            questions.setdefault((data["prompt"], data["reference"]), {})[int(data["step"])] = data
    return [
        {
            "prompt": shown(prompt),
            "reference": shown(reference),
            "answers": [
                {
                    "step": step,
                    "when": _when(step, final_step),
                    "output": shown(data["output"]),
                    "finish_reason": data.get("finish_reason"),
                }
                for step, data in sorted(answers.items())
            ],
        }
        for (prompt, reference), answers in questions.items()
    ]


def _when(step: int, final_step: int | None) -> str:
    if step == 0:
        return "Before training"
    return f"Step {step:,}" + (", kept" if step == final_step else "")
