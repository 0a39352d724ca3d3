from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from luthier.core.errors import RecipeError
from luthier.core.predictor import Prediction, SpanPrediction
from luthier.data.samples import Span
from luthier.evaluate.evaluation import evaluate_predictions
from luthier.evaluate.metric_names import primary_metric
from luthier.evaluate.scorers import scorer_for


def case(task, several):
    generator = np.random.default_rng(0)
    if task == "regress":
        truth = generator.normal(1e6, 1, (50, 2))  # a mean that would cancel in plain sums of squares
        answers = truth + generator.normal(0, 1, (50, 2))
        return [tuple(row) for row in truth.tolist()], [
            Prediction(score=r[0], values=tuple(r)) for r in answers.tolist()
        ]
    if task == "extract":
        spans = [[(int(s), int(s) + 2, str(generator.choice(["A", "B"]))) for s in (0, 5, 9)] for _ in range(50)]
        return (
            [tuple(Span(*s) for s in row) for row in spans],
            [Prediction(spans=tuple(SpanPrediction(s, e, "A") for s, e, _ in row[:2])) for row in spans],
        )
    if several:
        truth = [tuple(label for label in "abc" if generator.random() < 0.5) for _ in range(50)]
        return truth, [Prediction(labels=tuple(label for label in "abc" if generator.random() < 0.5)) for _ in truth]
    truth = [str(label) for label in generator.choice(list("abc"), 50)]
    return truth, [Prediction(label=str(label)) for label in generator.choice(list("abc"), 50)]


@pytest.mark.parametrize(
    ("task", "several"), [("classify", False), ("classify", True), ("regress", False), ("extract", False)]
)
def test_streaming_equals_the_whole(task, several):
    references, predictions = case(task, several)
    scorer = scorer_for(task, several)
    scorer.update([Prediction(label="b", score=1.0)], [(2.0,) if task == "regress" else ()])
    scorer.reset()
    for start in range(0, 50, 7):
        scorer.update(predictions[start : start + 7], references[start : start + 7])
    labels = [] if task == "regress" else list("abc")
    whole = evaluate_predictions(task, references, predictions, labels, several_labels=several, bootstrap=0)
    assert scorer.value() == pytest.approx(whole.metrics[scorer.name].value, abs=1e-9)
    assert 0 < scorer.value() < 1
    assert scorer.higher_is_better


def test_pearson_of_offset_numbers_equals_scipy():
    references, predictions = case("regress", False)
    scorer = scorer_for("regress")
    scorer.update(predictions[:13], references[:13])
    scorer.update([], [])
    scorer.update(predictions[13:], references[13:])
    each = [stats.pearsonr([r[t] for r in references], [p.values[t] for p in predictions])[0] for t in (0, 1)]
    assert scorer.value() == pytest.approx(np.mean(each), abs=1e-8)


@pytest.mark.parametrize("task", ["classify", "regress", "extract"])
def test_before_the_first_row_the_value_is_0(task):
    assert scorer_for(task).value() == 0.0


def test_a_constant_prediction_scores_0():
    scorer = scorer_for("regress")
    scorer.update([Prediction(score=1.0)] * 3, [1.0, 2.0, 3.0])
    assert scorer.value() == 0.0


def test_primary_metrics_and_unknown_task():
    assert primary_metric("classify") == ("accuracy", True)
    assert primary_metric("classify", True) == ("micro_f1", True)
    assert primary_metric("regress") == ("spearman", True)
    assert primary_metric("regress", constant=True) == ("mse", False)
    assert primary_metric("extract") == ("f1", True)
    with pytest.raises(RecipeError, match="extract"):
        scorer_for("extrct")
