"""The clock beside a training: what has to be left, and how it grows on a machine that became slower."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import pytest

from luthier.automatic.watch import Rest, Watch
from luthier.core import clock
from luthier.core.alarm import TimeIsUp, alarm
from luthier.core.events import Event, ignore
from luthier.search.candidates import Candidate
from luthier.search.choosing import Pace
from luthier.searching.clockwork import Clockwork

FULL, LORA = Candidate("full", kind="full", cost=3.5), Candidate("lora", kind="lora", cost=3.0)
QUIET = 1e6
"""Seconds, real ones: the alarm beside these watches is set to the seconds of a clock that does not move."""


class Moving:
    now = 0.0


@pytest.fixture
def moving(monkeypatch: pytest.MonkeyPatch) -> Moving:
    found = Moving()
    monkeypatch.setattr(clock, "monotonic", lambda: found.now)
    return found


def steps_until_it_ends(watch: Watch, moving: Moving, rest: Rest, seconds: list[float]) -> int:
    """How many steps, each as long as `seconds` say, are done before the time is up."""
    done = 0
    try:
        with watch.leaving(rest):
            for done, took in enumerate(seconds):
                moving.now += took
                watch(Event("step", data={"step": done + 1, "total_steps": 40, "epochs": 4}))
    except TimeIsUp:
        return done
    raise AssertionError("it was not ended")


def busy(seconds: float) -> None:
    """Compute for so long, and tell of nothing."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        pass


def rest_of(**more: Any) -> Rest:
    return Rest(**{"trained": 20.0, "judged": 5.0, "last": -QUIET, "epoch": None, **more})


def test_as_foretold_it_ends_where_the_rest_is_left(moving: Moving) -> None:
    watch = Watch(ignore, Clockwork(100.0))
    assert steps_until_it_ends(watch, moving, rest_of(epoch=10.0), [1.0] * 200) == pytest.approx(79, abs=1)
    assert watch.slower == 1.0


def test_three_times_slower_than_foretold_three_times_as_much_is_left(moving: Moving) -> None:
    watch = Watch(ignore, Clockwork(100.0))
    steps_until_it_ends(watch, moving, rest_of(epoch=10.0), [3.0] * 200)
    assert watch.slower == pytest.approx(3.0)
    assert 100.0 - moving.now == pytest.approx(60.0, abs=6.0)


def test_slower_from_the_middle_on_is_seen_without_any_forecast(moving: Moving) -> None:
    watch = Watch(ignore, Clockwork(100.0))
    steps_until_it_ends(watch, moving, rest_of(), [0.5] * 20 + [1.5] * 200)
    assert watch.slower == pytest.approx(3.0)
    assert 100.0 - moving.now == pytest.approx(60.0, abs=4.0)


def test_what_lies_between_steps_is_not_taken_for_slowness(moving: Moving) -> None:
    watch = Watch(ignore, Clockwork(1000.0))
    with watch.leaving(rest_of(epoch=10.0)):
        for epoch in range(4):
            for step in range(10):
                moving.now += 1.0
                watch(Event("step", data={"step": 10 * epoch + step, "total_steps": 40, "epochs": 4}))
            watch(Event("judging"))
            moving.now += 60.0
            watch(Event("evaluation"))
    assert watch.slower == 1.0


def test_when_it_is_judged_only_the_pages_have_to_be_left(moving: Moving) -> None:
    watch = Watch(ignore, Clockwork(100.0))
    with watch.leaving(rest_of()):
        moving.now = 79.0
        watch(Event("proving", data={"part": "judging"}))
        moving.now = 94.0
        watch(Event("proving", data={"part": "report"}))
        watch(Event("message", "Written."))
    moving.now = 81.0
    with pytest.raises(TimeIsUp), watch.leaving(rest_of()):
        watch(Event("proving", data={"part": "judging"}))


def test_outside_nothing_is_ended(moving: Moving) -> None:
    watch = Watch(ignore, Clockwork(100.0))
    moving.now = 500.0
    watch(Event("step", data={"step": 1}))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
def test_what_tells_of_nothing_is_ended_too() -> None:
    began = time.monotonic()
    with pytest.raises(TimeIsUp), alarm(0.1):
        busy(30.0)
    assert time.monotonic() - began < 10
    with alarm(0.05):
        pass
    busy(0.1)  # it does not ring any more


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
def test_an_alarm_inside_of_another_leaves_that_one_set() -> None:
    def work() -> None:
        with alarm(0.3):
            with alarm(30.0):
                busy(0.01)
            busy(30.0)

    began = time.monotonic()
    with pytest.raises(TimeIsUp):
        work()
    assert time.monotonic() - began < 10


def test_in_another_thread_there_is_no_alarm() -> None:
    found: list[bool] = []

    def work() -> None:
        with alarm(0.001):
            time.sleep(0.02)
        found.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [True]


def test_a_machine_that_became_slower_is_slower_for_everything() -> None:
    pace = Pace(unit=1.0, overhead=2.0)
    pace.saw(FULL, 2, 7.0)
    pace.saw(LORA, 1, 4.5)
    assert pace.slower == 1.0, "a kind that was never timed tells nothing of the machine"
    pace.saw(LORA, 1, 5.0)
    assert pace.slower == 1.0, "near enough"
    pace.saw(LORA, 1, 15.0)
    assert pace.slower == pytest.approx(3.0)
    assert (pace.epoch(FULL), pace.overhead) == (pytest.approx(10.5), pytest.approx(6.0))
    pace.saw(FULL, 1, 10.5)
    assert pace.slower == pytest.approx(3.0), "it is not counted twice"
    pace.saw(FULL, 1, 1.0)
    assert pace.slower == 1.0
    assert pace.epoch(LORA) == pytest.approx(5.0)
