from __future__ import annotations

from luthier.evaluate.overfitting import diagnose


def curves(train, validation):
    points = []
    for i, (t, v) in enumerate(zip(train, validation, strict=True), start=1):
        points += [
            {"step": 2 * i - 1, "epoch": i - 0.5, "train_loss": t + 0.1},
            {"step": 2 * i, "epoch": float(i), "train_loss": t - 0.1, "validation_loss": v, "validation_metric": 0.9},
        ]
    return points


def test_overfitting_is_named_with_gap_and_best_epoch():
    found = diagnose(curves([1.0, 0.5, 0.2, 0.1], [0.9, 0.6, 0.7, 0.9]), 2.0, 4)
    assert found.found
    assert abs(found.gap - 0.8) < 1e-9
    assert found.best_epoch == 2.0
    for part in (
        "rose from 0.600 in epoch 2 to 0.900 in epoch 4",
        "fell from 0.500 to 0.100",
        "gap 0.800",
        "The state of epoch 2 was kept.",
    ):
        assert part in found.sentence


def test_a_metric_that_went_on_improving_is_told():
    found = diagnose(curves([1.0, 0.5, 0.2], [0.6, 0.5, 0.7]), 3.0, 3)
    assert found.found
    assert "surer rather than worse" in found.sentence


def test_falling_to_the_end_is_no_overfitting():
    found = diagnose(curves([1.0, 0.5, 0.3], [0.9, 0.6, 0.4]), 3.0, 3)
    assert not found.found
    assert "lowest at the end" in found.sentence
    assert "more epochs may help" in found.sentence
    stopped = diagnose(curves([1.0, 0.5, 0.3], [0.9, 0.6, 0.4]), 3.0, 10)
    assert "more epochs" not in stopped.sentence


def test_a_rise_within_two_percent_is_noise():
    assert not diagnose(curves([1.0, 0.5, 0.4], [0.9, 0.600, 0.605]), 2.0, 3).found


def test_both_losses_rising_is_unsteadiness():
    found = diagnose(curves([0.5, 0.4, 0.9], [0.5, 0.4, 0.9]), 2.0, 3)
    assert not found.found
    assert "unsteady" in found.sentence


def test_without_validation_nothing_is_claimed():
    found = diagnose([{"step": 1, "epoch": 1.0, "train_loss": 0.5, "validation_loss": None}], None, 1)
    assert not found.found
    assert found.gap is None
    assert "cannot be judged" in found.sentence
