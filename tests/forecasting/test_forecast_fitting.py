"""From the times of some steps to those of all, and events held against the clock."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from luthier.core import clock
from luthier.core.events import Event
from luthier.forecasting.fitting import fit_line, spread
from luthier.forecasting.stage_clock import StageClock


def test_a_line_is_found_again() -> None:
    costs = np.linspace(1, 9, 18)
    fixed, rate = fit_line([(float(cost), 0.02 + 0.05 * float(cost)) for cost in costs])
    assert fixed == pytest.approx(0.02, rel=1e-3)
    assert rate == pytest.approx(0.05, rel=1e-3)


def test_one_step_that_was_held_up_hardly_counts() -> None:
    generator = np.random.default_rng(1)
    measured = [(c, (0.02 + 0.05 * c) * (1 + 0.02 * generator.standard_normal())) for c in np.linspace(1, 9, 18)]
    measured[4] = (measured[4][0], measured[4][1] * 6)
    fixed, rate = fit_line(measured)
    total = sum(fixed + rate * cost for cost, _ in measured)
    assert total == pytest.approx(sum(0.02 + 0.05 * cost for cost, _ in measured), rel=0.06)


@pytest.mark.parametrize(
    "measured",
    [[(2.0, 0.2)], [(2.0, 0.2)] * 9, [(1.0, 0.4), (2.0, 0.3), (3.0, 0.2), (4.0, 0.1), (5.0, 0.05)],
     [(1.0, 0.01), (2.0, 0.09), (3.0, 0.2), (4.0, 0.35), (5.0, 0.5)]],
)  # fmt: skip
def test_a_line_never_falls_and_never_begins_below_nothing(measured: list[tuple[float, float]]) -> None:
    fixed, rate = fit_line(measured)
    assert fixed >= 0
    assert rate >= 0
    assert fixed + rate > 0


def test_steps_are_taken_from_cheap_to_dear() -> None:
    costs = np.asarray([5.0, 1.0, 4.0, 2.0, 3.0])
    assert costs[spread(costs, 3)].tolist() == [1.0, 3.0, 5.0]
    assert sorted(spread(costs, 50).tolist()) == [0, 1, 2, 3, 4]
    assert spread(np.asarray([7.0]), 20).tolist() == [0]


def test_every_second_belongs_to_one_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    watch = StageClock()

    def at(seconds: float, kind: str, **data: Any) -> None:
        now[0] = 100.0 + seconds
        watch.take(Event(kind, data=data))

    at(1.0, "message")
    at(2.0, "gate")
    at(2.5, "gate")
    at(3.0, "size")
    at(4.0, "message", cache_reused=False)
    at(4.25, "sample")
    at(6.25, "step", tokens=10, tokens_per_second=10)
    at(7.25, "step", tokens=10, tokens_per_second=10)
    at(7.25, "judging")
    at(8.25, "evaluation")
    at(8.5, "saving")
    at(9.0, "checkpoint")
    at(10.0, "finished")
    at(12.0, "proving", part="judging")
    at(15.0, "proving", part="report")
    now[0] = 116.0
    found = watch.end()
    assert found == {
        "setup": 2.0, "gates": 1.0, "cache": 1.0, "samples": 1.5, "steps": 3.0, "validation": 1.0, "saving": 0.5,
        "finish": 2.0, "judging": 3.0, "report": 1.0,
    }  # fmt: skip
    assert sum(found.values()) == watch.total == 16.0
    assert watch.steps == 2
