"""Whether one model is better than another on the same rows, or whether nobody can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.core.predictor import Prediction
from luthier.evaluate.evaluation import Evaluation, rows_for
from luthier.evaluate.intervals import (
    Interval,
    Judge,
    PairedTest,
    Verdict,
    decide,
    holm,
    paired_bootstrap,
    paired_test,
)
from luthier.evaluate.metric_names import metric_name, primary_metric
from luthier.evaluate.regression import RegressionJudge

PEOPLE_CALL_IT = {
    "majority": "the majority baseline",
    "tfidf": "the TF-IDF baseline",
    "dictionary": "the dictionary baseline",
    "frozen": "the frozen base with a linear head",
    "scratch": "the same architecture trained from scratch",
    "base": "the untuned base",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ours against `name`: a positive difference is in our favour; `p_value` is corrected (Holm)."""

    name: str
    metric: str
    ours: float
    theirs: float
    difference: Interval
    p_value: float
    test: str
    verdict: Verdict
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """JSON for the report."""
        return {
            "name": self.name,
            "metric": self.metric,
            "ours": self.ours,
            "theirs": self.theirs,
            "difference": self.difference.to_dict(),
            "p_value": self.p_value,
            "test": self.test,
            "verdict": self.verdict,
            "sentence": self.sentence,
        }


def compare(
    task: str,
    references: Sequence[Any],
    ours: Sequence[Prediction],
    others: Mapping[str, Sequence[Prediction]],
    *,
    labels: Sequence[str] = (),
    several_labels: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> list[Comparison]:
    """Compare answers to the same rows, by the task's primary metric and a paired test each."""

    def judge(predictions: Sequence[Prediction]) -> Judge:
        rows = rows_for(task, labels, several_labels)
        rows.add(references, predictions)
        return rows.judge()

    return _compare(
        task,
        several_labels,
        judge(ours),
        {name: judge(given) for name, given in others.items()},
        resamples,
        seed,
    )


def compare_evaluations(
    ours: Evaluation, others: Mapping[str, Evaluation], *, resamples: int = 1000, seed: int = 0
) -> list[Comparison]:
    """`compare` for models that have been evaluated on the same rows, in the same order."""
    return _compare(
        ours.task,
        ours.several_labels,
        ours.judge,
        {name: other.judge for name, other in others.items()},
        resamples,
        seed,
    )


def _compare(
    task: str, several_labels: bool, ours: Judge, others: Mapping[str, Judge], resamples: int, seed: int
) -> list[Comparison]:
    tests: list[tuple[str, str, float, float, PairedTest]] = []
    for name, theirs in others.items():
        constant = any(isinstance(judge, RegressionJudge) and judge.constant for judge in (ours, theirs))
        metric, higher_is_better = primary_metric(task, several_labels, constant=constant)
        our_rows, their_rows = ours.row_values(metric), theirs.row_values(metric)
        if our_rows is not None and their_rows is not None:
            test = paired_test(our_rows, their_rows, higher_is_better=higher_is_better, resamples=resamples, seed=seed)
        else:
            test = paired_bootstrap(
                ours, theirs, metric, higher_is_better=higher_is_better, resamples=resamples, seed=seed
            )
        values = [judge.point([metric])[metric] for judge in (ours, theirs)]
        tests.append((name, metric, values[0], values[1], test))
    corrected = holm([test.p_value for *_, test in tests])
    found = []
    for (name, metric, our_value, their_value, test), p_value in zip(tests, corrected, strict=True):
        verdict = decide(test.difference, p_value)
        found.append(
            Comparison(
                name,
                metric,
                our_value,
                their_value,
                test.difference,
                p_value,
                test.test,
                verdict,
                sentence(name, metric, test.difference, verdict),
            )
        )
    return found


def sentence(name: str, metric: str, difference: Interval, verdict: Verdict) -> str:
    """The comparison as people say it: "better than the TF-IDF baseline by 4.1 points (95 % interval ...)"."""
    known = metric_name(metric)
    other = PEOPLE_CALL_IT.get(name, name)
    if verdict == "cannot tell them apart":
        low, high = _amounts(metric, difference.low, difference.high)
        unit = " points" if known.is_share else ""
        return (
            f"cannot be told apart from {other} (95 % interval of the difference in "
            f"{_inside(known.title)}: {low} to {high}{unit})"
        )
    return f"{verdict} than {other} {distance(metric, difference, verdict)}"


def distance(metric: str, difference: Interval, verdict: Verdict, *, named: bool = True) -> str:
    """How far the better one is ahead: "by 4.1 points (95 % interval ...)"; `named`: with the metric's name."""
    known = metric_name(metric)
    sign = 1 if verdict == "better" else -1
    value, *ends = _amounts(metric, *(sign * number for number in (difference.value, difference.low, difference.high)))
    low, high = ends if sign > 0 else reversed(ends)
    amount = f"{value} points" if known.is_share else f"{value} in {_inside(known.title)}" if named else value
    return f"by {amount} (95 % interval {low} to {high})"


def _amounts(metric: str, *numbers: float) -> list[str]:
    """Shares in points; other metrics with three digits that count."""
    if metric_name(metric).is_share:
        return [f"{round(100 * number, 1) + 0.0:.1f}" for number in numbers]
    return [f"{number:.3g}" for number in numbers]


def _inside(title: str) -> str:
    """A metric's title inside a sentence."""
    is_name = title.startswith(("F1", "ROC", "R²", "Pearson", "Spearman", "BLEU", "chrF", "ROUGE"))
    return title if is_name else title[0].lower() + title[1:]
