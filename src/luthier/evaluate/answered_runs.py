"""Finished runs beside each other: their answers to the rows that all of them were judged on.

No model is asked again; what is read are the report and the answers file of each run.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from luthier.core.predictor import Prediction, SpanPrediction
from luthier.core.recipe import LANGUAGE_TASKS
from luthier.data.samples import Span
from luthier.evaluate.comparison import sentence
from luthier.evaluate.evaluation import rows_for
from luthier.evaluate.generation.judges import LikelihoodJudge
from luthier.evaluate.generation.questions import Question
from luthier.evaluate.generation.scoring import AnswerScores
from luthier.evaluate.intervals import (
    Interval,
    Judge,
    PairedTest,
    bootstrap,
    decide,
    holm,
    paired_bootstrap,
    paired_test,
)
from luthier.evaluate.metric_names import metric_name, primary_metric
from luthier.evaluate.regression import RegressionJudge

RESAMPLES = 1000
Place = tuple[str, int]
"""A row's key, and which of the rows with that key it is."""


@dataclass(frozen=True)
class AnsweredRun:
    """A run as it is compared: `name` is unique and what people see; `rows` are the lines of its answers file."""

    name: str
    report: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]

    @property
    def task(self) -> str:
        return str(self.report["task"])


@dataclass(frozen=True)
class Compared:
    """What was found.

    Attributes:
        shared: how many rows all runs were judged on.
        metrics: of each run on these rows, with intervals; by run, then metric.
        pairs: a paired test for each two runs and metric; p-values are corrected for their number (Holm 1979).
        disagreements: rows to which the runs answered differently; those that some got right come first.
        notes: why something is missing.
    """

    shared: int = 0
    metrics: dict[str, dict[str, Interval]] = field(default_factory=dict)
    pairs: list[dict[str, Any]] = field(default_factory=list)
    disagreements: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def compare_answered(runs: Sequence[AnsweredRun]) -> Compared:
    """Compare two or more runs. What cannot be compared is told in the notes."""
    if len({run.task for run in runs}) > 1:
        told = ", ".join(sorted({run.task for run in runs}))
        return Compared(notes=[f"The runs learned different tasks ({told}), so their answers are not compared."])
    if without := [run.name for run in runs if not run.rows]:
        return Compared(notes=[f"There are no answers of {', '.join(without)}, so there is no paired test."])
    tables = [_by_place(run.rows) for run in runs]
    shared = [place for place in tables[0] if all(place in table for table in tables[1:])]
    if not shared:
        return Compared(notes=["The runs were judged on different rows, so there is no paired test: judge them on the "
                               "same test file."])  # fmt: skip
    notes = []
    most = max(len(table) for table in tables)
    if len(shared) < most:
        notes.append(f"The runs have {len(shared):,} rows in common, of up to {most:,}; these are compared.")
    columns = [[table[place] for place in shared] for table in tables]
    judges = {run.name: _judges(run, rows) for run, rows in zip(runs, columns, strict=True)}
    names = _metrics(runs[0], list(judges.values()))
    metrics = {
        run: {name: bootstrap(found[name], [name], resamples=RESAMPLES)[name] for name in names if name in found}
        for run, found in judges.items()
    }
    return Compared(len(shared), metrics, _pairs(judges, names), _disagreements(runs[0].task, columns), notes)


def _by_place(rows: Sequence[Mapping[str, Any]]) -> dict[Place, Mapping[str, Any]]:
    seen: Counter[str] = Counter()
    found = {}
    for row in rows:
        found[row["key"], seen[row["key"]]] = row
        seen[row["key"]] += 1
    return found


def _judges(run: AnsweredRun, rows: Sequence[Mapping[str, Any]]) -> dict[str, Judge]:
    """By metric, the rows that it is measured on."""
    if run.task in LANGUAGE_TASKS:
        return _writer_judges(rows)
    several = bool(run.report.get("several_labels"))
    collected = rows_for(run.task, list(run.report.get("labels") or ()), several)
    collected.add([_target(run.task, row) for row in rows], [_prediction(run.task, row) for row in rows])
    judge = collected.judge()
    return dict.fromkeys((name for name in judge.names() if name not in _NEED_ALL_SCORES), judge)


_NEED_ALL_SCORES = ("roc_auc", "average_precision", "log_loss", "calibration_error")
"""Of each row only the best classes' probabilities are kept; each report has these metrics of its run."""


def _writer_judges(rows: Sequence[Mapping[str, Any]]) -> dict[str, Judge]:
    loss = (np.asarray([row[name] for row in rows], dtype=np.float64) for name in ("loss", "tokens", "correct"))
    likelihood = LikelihoodJudge(*loss)
    found: dict[str, Judge] = dict.fromkeys(likelihood.names(), likelihood)
    answered = [row for row in rows if "predicted" in row]
    if answered:
        scores = AnswerScores()
        for row in answered:
            scores.add(Question(row["text"], row["text"], row["expected"]), row["predicted"], {})
        judge = scores.judge()
        found |= dict.fromkeys((name for name in scores.chosen() if name in judge.names()), judge)
    return found


def _metrics(run: AnsweredRun, judges: Sequence[Mapping[str, Judge]]) -> list[str]:
    """The metric that decides first, and for what writes the telling one of the answers."""
    shared = [name for name in judges[0] if all(name in found for found in judges)]
    if run.task in LANGUAGE_TASKS:
        telling = [name for name in shared if name not in ("loss", "perplexity", "token_accuracy")]
        return ["loss", *telling[:1]]
    several = bool(run.report.get("several_labels"))
    constant = any(isinstance(one, RegressionJudge) and one.constant for found in judges for one in found.values())
    first = primary_metric(run.task, several, constant=constant)[0]
    return [first, *(name for name in shared if name != first)]


def _pairs(judges: Mapping[str, Mapping[str, Judge]], names: Sequence[str]) -> list[dict[str, Any]]:
    deciding = names if "loss" in names else names[:1]
    found: list[tuple[str, str, str, PairedTest]] = [
        (ours, theirs, name, _test(judges[ours][name], judges[theirs][name], name))
        for ours, theirs in combinations(judges, 2)
        for name in deciding
        if judges[ours][name].num_rows == judges[theirs][name].num_rows
    ]
    corrected = holm([test.p_value for *_, test in found])
    return [
        {
            "a": ours,
            "b": theirs,
            "metric": name,
            "a_value": judges[ours][name].point([name])[name],
            "b_value": judges[theirs][name].point([name])[name],
            "difference": test.difference.to_dict(),
            "p_value": p_value,
            "test": test.test,
            "verdict": (verdict := decide(test.difference, p_value)),
            "sentence": f"{ours} {'' if verdict.startswith('cannot') else 'is '}"
            f"{sentence(theirs, name, test.difference, verdict)}",
        }
        for (ours, theirs, name, test), p_value in zip(found, corrected, strict=True)
    ]


def _test(ours: Judge, theirs: Judge, name: str) -> PairedTest:
    better_is_more = metric_name(name).higher_is_better
    one, other = ours.row_values(name), theirs.row_values(name)
    if one is not None and other is not None:
        return paired_test(one, other, higher_is_better=better_is_more, resamples=RESAMPLES)
    return paired_bootstrap(ours, theirs, name, higher_is_better=better_is_more, resamples=RESAMPLES)


def _disagreements(task: str, columns: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    found = []
    for rows in zip(*columns, strict=True):
        if not all("predicted" in row for row in rows):
            continue
        told = [json.dumps(_plain(task, row["predicted"]), sort_keys=True) for row in rows]
        if len(set(told)) > 1:
            found.append(rows)
    found.sort(key=lambda rows: -_distance(task, rows))  # stable: rows that are alike stay in order
    shown = ("line", "source", "text", "text_pair", "expected")
    answer = ("predicted", "score", "scores", "wrong", "finish_reason")
    return [
        {
            **{name: rows[0][name] for name in shown if name in rows[0]},
            "answers": [{name: row[name] for name in answer if name in row} for row in rows],
        }
        for rows in found
    ]


def _distance(task: str, rows: Sequence[Mapping[str, Any]]) -> float:
    if task == "regress":
        values = np.asarray([np.ravel(row["predicted"]) for row in rows], dtype=np.float64)
        return float((values.max(axis=0) - values.min(axis=0)).max())
    right = [row["wrong"] == 0 for row in rows]
    return float(any(right) and not all(right))


def _plain(task: str, predicted: Any) -> Any:
    """An answer without what does not make it another one."""
    if task == "extract":
        return sorted([span["start"], span["end"], span["label"]] for span in predicted)
    return sorted(predicted) if task == "classify" and isinstance(predicted, list) else predicted


def _target(task: str, row: Mapping[str, Any]) -> Any:
    expected = row["expected"]
    if task == "extract":
        return tuple(Span(span["start"], span["end"], span["label"]) for span in expected)
    if task == "regress":
        return tuple(expected) if isinstance(expected, list) else (expected,)
    return tuple(expected) if isinstance(expected, list) else expected


def _prediction(task: str, row: Mapping[str, Any]) -> Prediction:
    predicted = row["predicted"]
    if task == "extract":
        return Prediction(spans=tuple(SpanPrediction(span["start"], span["end"], span["label"]) for span in predicted))
    if task == "regress":
        values = tuple(predicted) if isinstance(predicted, list) else (predicted,)
        return Prediction(score=values[0], values=values)
    if isinstance(predicted, list):
        return Prediction(labels=tuple(predicted))
    return Prediction(label=predicted, score=row.get("score"))
