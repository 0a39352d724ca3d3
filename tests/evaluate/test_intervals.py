from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from scipy import stats

from luthier.core.predictor import Prediction
from luthier.evaluate.comparison import compare, compare_evaluations
from luthier.evaluate.evaluation import evaluate_predictions
from luthier.evaluate.intervals import Interval, holm, mcnemar, paired_test, resample_weights


def answers(labels):
    return [Prediction(label=label) for label in labels]


def test_the_interval_is_the_binomial_one_and_seeded():
    right = np.random.default_rng(0).random(400) < 0.8
    references, given = ["x"] * 400, answers(["x" if r else "y" for r in right])
    first = evaluate_predictions("classify", references, given, ["x", "y"], seed=5, bootstrap=2000)
    again = evaluate_predictions("classify", references, given, ["x", "y"], seed=5, bootstrap=2000)
    assert first.metrics == again.metrics
    interval = first.metrics["accuracy"]
    p = right.mean()
    half = 1.96 * math.sqrt(p * (1 - p) / 400)
    assert interval.low == pytest.approx(p - half, abs=0.006)
    assert interval.high == pytest.approx(p + half, abs=0.006)


def test_intervals_hold_the_truth_about_95_times_in_100():
    generator = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        right = generator.random(150) < 0.7
        test = paired_test(right, np.zeros(150), resamples=300, seed=trial)
        covered += test.difference.low <= 0.7 <= test.difference.high
    assert 180 <= covered <= 199


def test_weights_come_in_chunks_of_bounded_size(monkeypatch):
    monkeypatch.setattr(sys.modules[resample_weights.__module__], "_CELLS_PER_CHUNK", 100)
    chunks = list(resample_weights(30, 10, seed=0))
    assert [chunk.shape for chunk in chunks] == [(30, 3), (30, 3), (30, 3), (30, 1)]
    assert all((chunk.sum(axis=0) == 30).all() for chunk in chunks)


def test_nan_becomes_none_in_json():
    assert Interval(float("nan"), float("inf"), 1.0).to_dict() == {"value": None, "low": None, "high": 1.0}


def test_mcnemar_is_the_binomial_test_of_the_discordant_rows():
    a = np.array([1] * 15 + [0] * 4 + [1] * 80 + [0] * 20, dtype=bool)
    b = np.array([0] * 15 + [1] * 4 + [1] * 80 + [0] * 20, dtype=bool)
    assert mcnemar(a, b) == pytest.approx(stats.binomtest(15, 19).pvalue)
    assert mcnemar(a, a) == 1.0


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


@pytest.fixture
def rows():
    generator = np.random.default_rng(2)
    references = [str(c) for c in generator.integers(0, 3, 500)]

    def model(accuracy):
        return answers([r if generator.random() < accuracy else "9" for r in references])

    return references, model


def test_better_worse_and_cannot_tell(rows):
    references, model = rows
    ours = model(0.9)
    swapped = [*ours[:250], *model(0.9)[250:]]
    found = {
        c.name: c
        for c in compare(
            "classify", references, ours, {"tfidf": model(0.75), "oracle": answers(references), "twin": swapped}
        )
    }
    assert found["tfidf"].verdict == "better"
    assert found["tfidf"].test == "mcnemar"
    assert found["tfidf"].sentence.startswith("better than the TF-IDF baseline by 1")
    assert "points (95 % interval" in found["tfidf"].sentence
    assert found["tfidf"].difference.value == pytest.approx(found["tfidf"].ours - found["tfidf"].theirs)
    assert found["oracle"].verdict == "worse"
    assert found["oracle"].sentence.startswith("worse than oracle by ")
    assert "-" not in found["oracle"].sentence
    assert found["twin"].verdict == "cannot tell them apart"
    assert found["twin"].sentence.startswith("cannot be told apart from twin")


def test_a_model_cannot_be_told_apart_from_itself(rows):
    references, model = rows
    ours = model(0.8)
    (same,) = compare("classify", references, ours, {"itself": ours})
    assert same.verdict == "cannot tell them apart"
    assert same.p_value == 1.0
    assert same.difference.value == 0


def test_regression_against_the_mean_is_decided_by_the_squared_error():
    generator = np.random.default_rng(3)
    truth = generator.normal(size=100)
    near = [Prediction(score=float(t + 0.1 * generator.normal())) for t in truth]
    mean = [Prediction(score=0.0)] * 100
    noise = [Prediction(score=float(x)) for x in generator.normal(size=100)]
    found = {c.name: c for c in compare("regress", list(truth), near, {"majority": mean, "noise": noise})}
    assert found["majority"].metric == "mse"
    assert found["majority"].verdict == "better"
    assert "in mean squared error" in found["majority"].sentence
    assert found["noise"].metric == "spearman"
    assert found["noise"].verdict == "better"


def test_comparison_of_evaluations_is_the_same(rows):
    references, model = rows
    ours, theirs = model(0.9), model(0.7)
    a, b = (evaluate_predictions("classify", references, given, [], bootstrap=10) for given in (ours, theirs))
    assert compare_evaluations(a, {"x": b}) == compare("classify", references, ours, {"x": theirs})


def test_models_that_answered_different_rows_cannot_be_compared():
    with pytest.raises(ValueError, match="same rows"):
        paired_test([1, 0], [1, 0, 1])
