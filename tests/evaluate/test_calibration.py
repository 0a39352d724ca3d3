from __future__ import annotations

import numpy as np
import pytest

from luthier.evaluate.calibration import abstain_curve, calibration_error, fit_temperature, reliability


def sampled_from(logits, generator):
    """Targets drawn from softmax(logits): those logits are perfectly calibrated."""
    exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.array([generator.choice(len(row), p=row / row.sum()) for row in exponent])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_was_put_in_is_found(temperature):
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(4000, 5)) * 2
    targets = sampled_from(logits, generator)
    assert fit_temperature(logits * temperature, targets) == pytest.approx(temperature, rel=0.06)


def test_the_temperature_of_sigmoids_is_found():
    generator = np.random.default_rng(1)
    logits = generator.normal(size=(3000, 4)) * 2
    held = generator.random(logits.shape) < 1 / (1 + np.exp(-logits))
    assert fit_temperature(logits * 3, held) == pytest.approx(3, rel=0.06)


def test_scaling_lowers_the_loss_and_the_calibration_error():
    generator = np.random.default_rng(2)
    logits = generator.normal(size=(2000, 3)) * 2
    targets = sampled_from(logits, generator)

    def error(scaled):
        exponent = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        probabilities = exponent / exponent.sum(axis=1, keepdims=True)
        return calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == targets)

    sure = logits * 4
    assert error(sure / fit_temperature(sure, targets)) < 0.5 * error(sure)


def test_temperature_at_the_edges():
    assert fit_temperature(np.empty((0, 3)), np.empty(0)) == 1.0
    assert fit_temperature(np.ones((4, 1)), np.zeros(4)) == 1.0
    assert fit_temperature(np.eye(3) * 50, np.arange(3)) >= 1.0  # all right: no row says how sure is too sure
    assert fit_temperature(np.eye(3) - 0.5, np.eye(3)) >= 1.0
    assert np.isfinite(fit_temperature(np.array([[1e4, -1e4]]), np.array([1])))
    with pytest.raises(ValueError, match="do not fit"):
        fit_temperature(np.ones((4, 2)), np.zeros(3))


def test_bins_hold_every_row_once():
    confidence = np.array([0.0, 1 / 15, 0.5, 0.51, 1.0])
    found = reliability(confidence, [0, 1, 1, 0, 1])
    assert sum(item.rows for item in found) == 5
    assert found[0].rows == 2
    assert found[0].accuracy == 0.5
    assert found[-1].high == 1.0
    assert found[-1].confidence == 1.0
    assert np.isnan(calibration_error(np.empty(0), []))


def test_abstaining_keeps_the_surest():
    scores = np.linspace(0, 1, 101)
    correct = scores > 0.3
    curve = abstain_curve(scores, correct, target_accuracy=1.0)
    assert curve.points[0].coverage == 1.0
    assert curve.points[0].accuracy == pytest.approx(correct.mean())
    assert curve.suggestion.threshold == pytest.approx(0.31)
    assert curve.suggestion.accuracy == 1.0
    coverages = [point.coverage for point in curve.points]
    assert coverages == sorted(coverages, reverse=True)
    kept = scores >= curve.suggestion.threshold
    assert curve.suggestion.coverage == pytest.approx(kept.mean())


def test_no_suggestion_where_none_holds():
    assert abstain_curve([0.9] * 30, [0] * 30, target_accuracy=0.9).suggestion is None
    # the 5 surest rows are right, but 5 rows are no ground for a threshold
    assert abstain_curve(np.arange(40), [0] * 35 + [1] * 5, target_accuracy=0.99).suggestion is None
    assert abstain_curve([], []).points == []


def test_rows_of_equal_score_are_kept_together():
    curve = abstain_curve([0.5] * 10 + [0.9] * 10, [0] * 10 + [1] * 10, target_accuracy=0.5)
    assert {point.coverage for point in curve.points} == {0.5, 1.0}
