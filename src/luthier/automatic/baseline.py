"""What a linear model on word counts reaches on the validation rows: what a tuned model has to beat."""

from __future__ import annotations

from luthier.core import clock
from luthier.core.recipe import LANGUAGE_TASKS
from luthier.data.prepare import Prepared


def tfidf_value(prepared: Prepared, metric: str) -> tuple[float, float] | None:
    """(its value of `metric`, seconds); None where there is no such baseline, or the metric is not defined for it."""
    if prepared.task in LANGUAGE_TASKS or prepared.validation is None:
        return None
    from luthier.evaluate.evaluation import evaluate
    from luthier.evaluate.linear import TfidfBaseline

    began = clock.monotonic()
    baseline = TfidfBaseline(prepared.task, labels=prepared.labels, several_labels=prepared.several_labels)
    predictor = baseline.fit(prepared.train)
    judged = evaluate(
        predictor, prepared.validation, metrics=[metric], several_labels=prepared.several_labels, bootstrap=0,
        batch_size=4096,
    )  # fmt: skip
    found = judged.metrics.get(metric)
    return None if found is None else (found.value, clock.monotonic() - began)
