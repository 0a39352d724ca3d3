"""The fit of learning curves against known curves and scipy, and the answers that hand-made points give."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.optimize import curve_fit

from luthier.evaluate.curve_page import law_value, render_curve
from luthier.evaluate.curve_report import curve_report
from luthier.evaluate.learning_curve import DRAWS, Size, judge_curve
from luthier.evaluate.power_law import LARGEST_EXPONENT, SMALLEST_EXPONENT, fit_power_law

ROWS = np.array([50, 100, 250, 500, 1000])


def sizes_of(accuracy, *, noise=0.002, common=0.0, seeds=3, rows=ROWS, seed=0, sign=1.0):
    """Points of a curve `accuracy(n)`; `noise` is of each training, `common` of the held-out rows."""
    random = np.random.default_rng(seed)
    shared = random.normal(0, common, DRAWS)
    found = []
    for n in rows:
        values = accuracy(n) + random.normal(0, noise, seeds) if noise else np.full(seeds, accuracy(n))
        found.append(Size(n / rows[-1], int(n), values, values[:, None] + shared * sign, 1.0))
    return found


def law(a, b, c):
    return lambda n: 1 - (a + b * float(n) ** -c)


@pytest.mark.parametrize(("a", "b", "c"), [(0.05, 2.0, 0.5), (0.0, 1.0, 0.2), (0.2, 30.0, 1.2), (0.3, 0.0, 0.5)])
def test_a_known_curve_is_found_again(a, b, c):
    errors = a + b * ROWS**-c
    found = fit_power_law(ROWS, errors, np.ones(5))
    for rows in (50, 1000, 2000, 10_000):
        assert found(rows)[0] == pytest.approx(a + b * rows**-c, abs=2e-4)


@pytest.mark.parametrize("seed", range(8))
def test_the_fit_is_scipys(seed):
    random = np.random.default_rng(seed)
    errors = 0.08 + 1.5 * ROWS**-0.45 + random.normal(0, 0.004, 5)
    deviations = random.uniform(0.5, 2, 5)
    found = fit_power_law(ROWS, errors, deviations**-2)

    def miss(values):
        return float((((values - errors) / deviations) ** 2).sum())

    best = min(
        (
            curve_fit(
                lambda n, a, b, c: a + b * n**-c, ROWS.astype(float), errors, p0=[0.05, 2, start], sigma=deviations,
                bounds=([0, 0, SMALLEST_EXPONENT], [np.inf, np.inf, LARGEST_EXPONENT]), maxfev=20_000,
            )[0]
            for start in (0.1, 0.5, 1.0)
        ),
        key=lambda p: miss(p[0] + p[1] * ROWS ** -p[2]),
    )  # fmt: skip
    ours = found.floor[0] + found.scale[0] * ROWS ** -found.exponent[0]
    assert miss(ours) <= miss(best[0] + best[1] * ROWS ** -best[2]) * 1.001 + 1e-12
    assert found(2000)[0] == pytest.approx(best[0] + best[1] * 2000 ** -best[2], abs=2e-3)


def test_many_curves_at_once_are_each_its_own():
    random = np.random.default_rng(1)
    errors = 0.1 + ROWS**-0.5 + random.normal(0, 0.01, (20, 5))
    together = fit_power_law(ROWS, errors, np.arange(1.0, 6))
    for i in range(20):
        alone = fit_power_law(ROWS, errors[i], np.arange(1.0, 6))
        assert together(2000)[i] == pytest.approx(alone(2000)[0], rel=1e-12)


def test_a_weight_decides_where_points_disagree():
    errors = np.array([0.5, 0.4, 0.3, 0.25, 0.6])
    assert fit_power_law(ROWS, errors, [1, 1, 1, 1, 1e-9])(1000)[0] == pytest.approx(0.21, abs=0.03)


def test_a_rising_curve_is_flat_and_never_falls_below_nothing():
    found = fit_power_law(ROWS, [0.1, 0.2, 0.3, 0.4, 0.5], np.ones(5))
    assert (found.floor[0], found.scale[0]) == (pytest.approx(0.3), 0.0)
    assert fit_power_law(ROWS, 3.0 / ROWS, np.ones(5)).floor[0] == pytest.approx(0, abs=1e-4)


def test_a_steep_curve_is_worth_labelling():
    found = judge_curve(sizes_of(law(0.05, 2, 0.5)), metric="accuracy", total_rows=1000)
    assert found.answer == "worth"
    assert "worth labelling" in found.sentence
    assert "Twice the rows (2,000) would bring accuracy from 0.88" in found.sentence
    assert found.gain.low <= 2 * (1000**-0.5 - 2000**-0.5) <= found.gain.high
    assert found.doubled.low <= found.doubled.value <= found.doubled.high
    assert found.now == pytest.approx(law(0.05, 2, 0.5)(1000), abs=0.005)


def test_a_saturated_curve_is_not():
    later = [n * 20 for n in ROWS]
    found = judge_curve(sizes_of(law(0.08, 20, 1.0), rows=np.array(later)), metric="accuracy", total_rows=20_000)
    assert found.answer == "not_worth"
    assert "not worth it" in found.sentence
    assert found.is_plain
    assert judge_curve(
        sizes_of(law(0.08, 20, 1.0), rows=np.array(later)), metric="accuracy", total_rows=20_000, worth=1e-6
    ).answer != "not_worth"  # fmt: skip


def test_a_curve_that_is_flat_within_its_noise_says_so():
    found = judge_curve(sizes_of(lambda n: 0.6, noise=0.06), metric="accuracy", total_rows=1000)
    assert found.answer == "cannot_say"
    assert "no more than chance" in found.sentence
    assert found.gain is None


def test_a_curve_that_is_surely_flat_needs_no_rows():
    found = judge_curve(sizes_of(lambda n: 0.9, noise=1e-4), metric="accuracy", total_rows=1000)
    assert found.answer == "not_worth"


def test_a_model_that_has_not_begun_says_nothing():
    sizes = sizes_of(lambda n: 0.5, noise=1e-3, common=0.02)
    found = judge_curve(sizes, metric="accuracy", total_rows=1000, chance=0.5)
    assert found.answer == "cannot_say"
    assert "has not begun" in found.sentence


def test_a_curve_that_falls_the_wrong_way_points_at_the_data():
    found = judge_curve(sizes_of(lambda n: 0.9 - n / 5000), metric="accuracy", total_rows=1000)
    assert found.answer == "cannot_say"
    assert "became worse" in found.sentence


def test_too_few_sizes_are_no_curve():
    found = judge_curve(sizes_of(law(0.05, 2, 0.5))[:3], metric="accuracy", total_rows=1000)
    assert found.answer == "cannot_say"
    assert found.law is None
    assert "3 sizes" in found.sentence


def test_an_undefined_metric_is_told():
    sizes = sizes_of(law(0.05, 2, 0.5))
    sizes[0] = Size(0.05, 50, np.array([np.nan]), np.full((1, DRAWS), np.nan))
    found = judge_curve(sizes, metric="spearman", total_rows=1000)
    assert "Spearman correlation is undefined" in found.sentence


def test_the_rows_own_chance_cancels_in_the_gain():
    """All sizes are judged on the same rows: that these are few makes each value unsure, and the gain hardly."""
    sure = judge_curve(sizes_of(law(0.05, 2, 0.5), common=0.0), metric="accuracy", total_rows=1000)
    common = judge_curve(sizes_of(law(0.05, 2, 0.5), common=0.01), metric="accuracy", total_rows=1000)
    wide = [cell["high"] - cell["low"] for cell in common.sizes]
    assert min(wide) > 0.03
    assert common.gain.high - common.gain.low < 2 * (sure.gain.high - sure.gain.low) + 0.01


def test_a_loss_falls_and_a_gain_is_positive():
    sizes = [
        Size(n / 1000, int(n), np.array([1.2 + 9 * n**-0.4]), np.full((1, DRAWS), 1.2 + 9 * n**-0.4)) for n in ROWS
    ]
    found = judge_curve(sizes, metric="loss", total_rows=1000)
    assert found.gain.value == pytest.approx(9 * (1000**-0.4 - 2000**-0.4), rel=0.02)
    assert found.doubled.value == pytest.approx(1.2 + 9 * 2000**-0.4, abs=0.005)
    assert "would bring loss from" in found.sentence
    assert found.notes  # one run per size


def test_a_size_that_was_not_trained_is_expected():
    found = judge_curve(sizes_of(law(0.05, 2, 0.5), noise=0.0)[:4], metric="accuracy", total_rows=1000)
    assert "(expected of all rows)" in found.sentence
    assert found.now == pytest.approx(law(0.05, 2, 0.5)(1000), abs=1e-3)


def test_the_intervals_hold_the_truth_about_as_often_as_they_say():
    """Of 40 simulated curves with known noise; 95 % are promised, and three fitted numbers on five sizes are few."""
    truth = 2 * (1000**-0.5 - 2000**-0.5)
    held = 0
    for seed in range(40):
        found = judge_curve(sizes_of(law(0.05, 2, 0.5), noise=0.008, seed=seed), metric="accuracy", total_rows=1000)
        held += found.gain is not None and found.gain.low <= truth <= found.gain.high
    assert held >= 34


@pytest.mark.parametrize("flat", [False, True])
def test_the_page_has_the_verdict_first_and_no_request(flat):
    sizes = sizes_of((lambda n: 0.6) if flat else law(0.05, 2, 0.5), noise=0.06 if flat else 0.002)
    judgement = judge_curve(sizes, metric="accuracy", total_rows=1000)
    report = curve_report(
        judgement, "accuracy", model="<b>minilm</b>", method="full", task="classify", rows=1000, held_out=50,
        held_out_is_test=False, points=[{"overfitting": True, "draws": [1.0]}], stopped=None, seconds=5.0,
    )  # fmt: skip
    json.dumps(report, allow_nan=False)
    assert "draws" not in report["runs"][0]
    assert any("Only 50 rows" in note for note in report["notes"])
    page = render_curve(report)
    assert page.index(report["sentence"]) < page.index("<figure")
    assert "<b>minilm" not in page
    assert 'src="http' not in page
    assert 'href="http' not in page
    if not flat:
        assert law_value(report, 1000) == pytest.approx(judgement.now, abs=0.01)
