"""Who gets the next seconds: the pace of this machine, how much fits, who won."""

from __future__ import annotations

import pytest

from luthier.search.candidates import Candidate, linear
from luthier.search.choosing import Pace, Result, best_of, epochs_alone, epochs_that_fit, first_bracket, next_move
from luthier.search.halving import TOP, Done, Ladder, Promote, Standing

FULL, LORA = Candidate("full", kind="full", cost=3.5), Candidate("lora", kind="lora", cost=3.0)
LADDER = Ladder(3)


def test_the_pace_is_what_was_seen() -> None:
    pace = Pace(unit=2.0, overhead=1.0)
    assert pace.epoch(FULL) == 7.0
    pace.saw(FULL, 2, 14.0 * 2)
    assert pace.epoch(FULL) == 14.0
    assert pace.epoch(LORA) == pytest.approx(4.0 * 3.0 * 1.2)  # not seen: a little slower than the others
    pace.saw(LORA, 4, 12.0)
    assert pace.epoch(LORA) == 3.0
    pace.saw(linear(), 1, 99.0)
    assert pace.epoch(FULL) == 14.0
    pace.opened(3.0)
    assert pace.overhead == 2.0


@pytest.mark.parametrize(
    ("unit", "budget", "expected"),
    [(0.1, 600, 12), (1.0, 175, 10), (2.0, 70, 3), (2.5, 60, 2), (10.0, 150, 1), (10.0, 60, 0), (100.0, 600, 0),
     (0.1, 20, 11)],
)
def test_epochs_fit_into_their_share(unit: float, budget: float, expected: int) -> None:
    assert epochs_that_fit(FULL, Pace(unit, 1.0), 12, budget, fixed=5.0) == expected


def test_a_closed_fit_has_no_epochs_to_save() -> None:
    assert epochs_that_fit(linear(), Pace(1000.0, 1.0), 1, 30, fixed=5.0) == 1


def test_more_time_judges_later() -> None:
    listed = [(FULL, 12), (LORA, 12)]
    found = [first_bracket(listed, Pace(1.0, 0.0), LADDER, seconds) for seconds in (5, 60, 10_000)]
    assert found == sorted(found)
    assert found[0] == 0
    assert LADDER.first(12, found[-1]) == TOP  # so much time that every one is trained whole


def standing(number: int, rung: int, score: float, state: str = "paused") -> Standing:
    return Standing(number, state, rung, {rung: score})  # type: ignore[arg-type]


def test_the_best_third_is_promoted_before_another_begins() -> None:
    three = [standing(0, 3, 0.5), standing(1, 3, 0.9), standing(2, 3, 0.7)]
    assert next_move(three, LADDER, may_begin=True, fits=lambda number, rung: True) == Promote(1, 4)


def test_what_does_not_fit_is_not_promoted() -> None:
    three = [standing(0, 3, 0.5), standing(1, 3, 0.9), standing(2, 3, 0.7)]
    step = next_move(three, LADDER, may_begin=False, fits=lambda number, rung: number == 0)
    assert step == Promote(0, 4)
    assert next_move(three, LADDER, may_begin=False, fits=lambda number, rung: False) == Done()


def test_time_that_is_left_goes_to_the_best_that_waits() -> None:
    two = [standing(0, TOP, 0.95, "complete"), standing(1, 3, 0.6), standing(2, 3, 0.8)]
    assert next_move(two, LADDER, may_begin=False, fits=lambda number, rung: True) == Promote(2, 4)
    assert next_move(two[:1], LADDER, may_begin=False, fits=lambda number, rung: True) == Done()


def best(results: list[Result], **more: object) -> int:
    options = {"higher_is_better": True, "rows": 100, "is_share": True, **more}
    return best_of(results, **options).number  # type: ignore[arg-type]


def test_a_clear_winner_wins_and_a_tie_goes_to_the_smaller_loss() -> None:
    assert best([Result(0, 0.8, 0.1), Result(1, 0.9, 0.9)]) == 1
    assert best([Result(0, 0.89, 0.1), Result(1, 0.9, 0.9)]) == 0  # half a standard error of 100 rows is 1.5 points
    assert best([Result(0, 0.89, 0.1), Result(1, 0.9, 0.9)], rows=100_000) == 1
    assert best([Result(0, 0.89, 0.1), Result(1, 0.9, 0.9)], is_share=False) == 1
    assert best([Result(0, 1.0, 0.3), Result(1, 0.99, 0.1)], rows=40) == 1


def test_where_less_is_better_the_least_wins() -> None:
    assert best([Result(0, 2.0, 2.0), Result(1, 1.9, 1.9)], higher_is_better=False, is_share=False) == 1


@pytest.mark.parametrize(
    ("unit", "wanted", "seconds", "expected"),
    [
        (1.5, 5, 60, 0),  # 27 s of 60: there is time to compare
        (2.0, 5, 60, 5),  # 36 s of 60: alone, and whole
        (5.0, 5, 60, 2),  # 88 s of 60: as many epochs as fit with a margin
        (60.0, 5, 60, 0),  # not even one
    ],
)
def test_short_time_is_for_one(unit: float, wanted: int, seconds: float, expected: int) -> None:
    assert epochs_alone(FULL, Pace(unit, 1.0), wanted, seconds) == expected
    assert epochs_alone(linear(), Pace(unit, 1.0), wanted, seconds) == 0
