"""What came out: the order, the front, what mattered, and luck, against numbers worked out otherwise."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from luthier.search.halving import TOP
from luthier.search.importance import importance
from luthier.search.luck import expected_maximum, judge_luck, mean_of
from luthier.search.outcome import Ranking, front
from luthier.search.pareto import pareto_front
from luthier.search.space import Space
from luthier.search.trial import Result, Trial


def trial(number: int, state: Any, rung: int, value: float, *, values: tuple[float, ...] = (), **params: Any) -> Trial:
    return Trial(number, params, state, 0, rung, 9, {rung: Result(9, value, None, 9.0)}, 10, values=values)


def test_complete_trials_come_before_those_that_stopped() -> None:
    trials = [
        trial(0, "paused", TOP - 1, 0.99), trial(1, "complete", TOP, 0.8), trial(2, "complete", TOP, 0.9),
        trial(3, "paused", TOP - 2, 0.995), Trial(4, {}, "failed"),
    ]  # fmt: skip
    assert [found.number for found in Ranking.of(trials, higher_is_better=True).order] == [2, 1, 0, 3]
    assert [found.number for found in Ranking.of(trials, higher_is_better=False).order] == [1, 2, 0, 3]
    assert Ranking.of(trials, higher_is_better=True).comparable() == 2
    assert Ranking.of([], higher_is_better=True).best is None


def test_the_front_is_what_nobody_beats() -> None:
    points = [(0.9, 100.0), (0.8, 50.0), (0.8, 60.0), (0.7, 200.0), (0.9, 100.0)]
    assert pareto_front(points, [True, False]) == [0, 1, 4]
    assert pareto_front([], [True]) == []


def test_the_front_agrees_with_every_pair() -> None:
    luck = np.random.default_rng(0)
    points = [tuple(map(float, row)) for row in luck.integers(0, 5, (60, 3))]
    found = set(pareto_front(points, [True, False, True]))
    for i, one in enumerate(points):
        dominated = any(
            other[0] >= one[0] and other[1] <= one[1] and other[2] >= one[2] and other != one for other in points
        )
        assert (i in found) is not dominated


def test_only_complete_trials_stand_on_the_front() -> None:
    trials = [trial(0, "complete", TOP, 0.9, values=(0.9, 10.0)), trial(1, "paused", TOP - 1, 0.99)]
    assert front(trials, ["quality", "size"], higher_is_better=True) == [0]


def test_the_parameter_that_decides_is_the_important_one() -> None:
    space = Space.read(
        {
            "data": "a.csv",
            "train": {
                "learning_rate": {"search": {"low": 1e-5, "high": 1e-1, "log": True}},
                "weight_decay": {"search": {"low": 0.0, "high": 0.1}},
            },
        }
    )  # fmt: skip
    luck = random.Random(0)
    trials = []
    for number in range(30):
        params = {"train.learning_rate": 10 ** luck.uniform(-5, -1), "train.weight_decay": luck.uniform(0, 0.1)}
        value = 0.9 - 0.1 * abs(math.log10(params["train.learning_rate"]) + 3) + luck.gauss(0, 0.002)
        trials.append(Trial(number, params, "complete", 0, TOP, 9, {TOP: Result(9, value, None, 9.0)}, 10))
    found = importance(space, trials, higher_is_better=True, reduction=3)
    assert (found.method, found.trials, found.share) == ("fANOVA", 30, 1.0)
    assert list(found.shares) == ["train.learning_rate", "train.weight_decay"]
    assert found.shares["train.learning_rate"] > 0.9
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert importance(space, trials, higher_is_better=True, reduction=3) == found


def test_the_importance_of_parameters_that_depend_on_others(searching: Callable[..., Any], space: Space) -> None:
    trials = searching(sampler="random", trials=40).run()
    found = importance(space, trials, higher_is_better=True, reduction=3)
    assert found.method == "PED-ANOVA"
    assert next(iter(found.shares)) == "train.learning_rate"
    assert found.share == pytest.approx(1 / 3) or found.share == pytest.approx(1 / 9)


def test_few_trials_have_no_importance(space: Space) -> None:
    found = importance(space, [trial(0, "complete", TOP, 0.5)], higher_is_better=True, reduction=3)
    assert found.shares == {}
    assert "needs 12" in found.why_not


def test_a_mean_has_students_interval() -> None:
    found = mean_of([0.8, 0.9, 1.0])
    half = 4.302653 * 0.1 / math.sqrt(3)  # Student's 0.975 quantile of two degrees of freedom, from a table
    assert (found.low, found.high) == (pytest.approx(0.9 - half, abs=1e-6), pytest.approx(0.9 + half, abs=1e-6))
    assert mean_of([0.8]).low is None


def test_a_winner_by_luck_is_said_to_be_one() -> None:
    found = judge_luck(0.95, [0.90, 0.92, 0.88], [0.91, 0.90, 0.90], trials=24, higher_is_better=True)
    assert found is not None
    assert found.verdict == "tie"
    assert found.optimism == pytest.approx(0.05)
    assert found.difference is not None
    assert found.difference.value == pytest.approx(statistics.fmean([-0.01, 0.02, -0.02]))


def test_a_better_one_is_clear_and_a_worse_one_reversed() -> None:
    best, other = [0.90, 0.92, 0.88], [0.85, 0.871, 0.829]
    clear = judge_luck(0.95, best, other, trials=24, higher_is_better=True)
    assert clear is not None
    assert clear.verdict == "clear"
    turned = judge_luck(0.95, other, best, trials=24, higher_is_better=True)
    assert turned is not None
    assert turned.verdict == "reversed"
    loss = judge_luck(0.3, [0.5, 0.52, 0.48], [0.6, 0.621, 0.58], trials=4, higher_is_better=False)
    assert loss is not None
    assert (loss.verdict, loss.optimism) == ("clear", pytest.approx(0.2))


def test_one_seed_says_nothing_of_luck() -> None:
    found = judge_luck(0.95, [0.9], [0.8], trials=3, higher_is_better=True)
    assert found is not None
    assert (found.verdict, found.noise) == ("unknown", None)
    assert judge_luck(0.95, [], [], trials=3, higher_is_better=True) is None


@pytest.mark.parametrize("count", [2, 10, 24, 100])
def test_the_expected_maximum_agrees_with_drawing(count: int) -> None:
    drawn = np.random.default_rng(0).standard_normal((20_000, count)).max(axis=1).mean()
    assert expected_maximum(count) == pytest.approx(drawn, abs=0.03)


def test_the_interval_of_a_lucky_winner_covers_the_truth() -> None:
    """100 searches of 24 trials that are all alike: the picked value is too high nearly always, the interval of the new
    seeds covers the truth about 95 times."""
    luck = np.random.default_rng(1)
    covered = above = 0
    for _ in range(100):
        picked = float(0.8 + 0.02 * luck.standard_normal(24).max())
        best, other = (list(map(float, 0.8 + 0.02 * luck.standard_normal(3))) for _ in range(2))
        found = judge_luck(picked, best, other, trials=24, higher_is_better=True)
        assert found is not None
        assert found.best.low is not None
        assert found.best.high is not None
        covered += found.best.low <= 0.8 <= found.best.high
        above += picked > 0.81
    assert covered >= 90
    assert above >= 95
