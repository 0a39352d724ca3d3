"""A learning curve as one JSON value: what curve.json holds and `luthier curve --json` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from luthier.core import clock
from luthier.evaluate.learning_curve import CurveJudgement
from luthier.evaluate.metric_names import metric_name
from luthier.evaluate.report import strict


def curve_report(
    judgement: CurveJudgement,
    metric: str,
    *,
    model: str,
    method: str,
    task: str,
    rows: int,
    held_out: int,
    held_out_is_test: bool,
    points: Sequence[Mapping[str, Any]],
    stopped: Mapping[str, Any] | None,
    seconds: float,
) -> dict[str, Any]:
    """Everything about a curve; strict JSON (no NaN).

    Args:
        rows: all training rows. points: of every run its rows, seed, folder, metric and overfitting.
        stopped: ``{rule, text, before_rows}`` where not all sizes were trained.
    """
    known = metric_name(metric)
    notes = list(judgement.notes)
    if not held_out_is_test:
        notes.append(
            "The figures are of the validation rows, which also chose each run's best epoch; all sizes alike."
        )
    if held_out < FEW_ROWS:
        notes.append(f"Only {held_out:,} rows are held out, so every interval is wide: give more with --test FILE.")
    overfitted = sum(bool(point.get("overfitting")) for point in points)
    report = {
        "answer": judgement.answer,
        "sentence": judgement.sentence,
        "reason": judgement.reason,
        "task": task,
        "model": model,
        "method": method,
        "metric": metric,
        "metric_title": known.title,
        "higher_is_better": known.higher_is_better,
        "rows": rows,
        "held_out_rows": held_out,
        "worth": judgement.worth,
        "sizes": judgement.sizes,
        "law": judgement.law.to_dict() if judgement.law is not None else None,
        "now": judgement.now,
        "doubled": judgement.doubled.to_dict() if judgement.doubled is not None else None,
        "gain": judgement.gain.to_dict() if judgement.gain is not None else None,
        "stopped": dict(stopped) if stopped else None,
        "overfitting": f"Overfitting was found in {overfitted} of {len(points)} runs; each kept its best epoch.",
        "runs": [{key: value for key, value in point.items() if key != "draws"} for point in points],
        "notes": notes,
        "seconds": seconds,
        "created_at": clock.now().isoformat(timespec="seconds"),
    }
    plain: dict[str, Any] = strict(report)
    return plain


FEW_ROWS = 100
"""Held-out rows below which an accuracy's interval is wider than ten points or so."""
