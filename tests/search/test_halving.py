"""Successive halving and Hyperband against cases that were worked out by hand, and against the papers' tables."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from luthier.search.halving import (
    TOP,
    Begin,
    Done,
    Ladder,
    Promote,
    Standing,
    Wait,
    brackets_of,
    next_bracket,
    next_step,
    ranked,
)

LADDER = Ladder(3)
LOW = TOP - 2  # the first rung of a trial of nine epochs


def paused(number: int, **scores: float) -> Standing:
    """A trial that waits at the last of these rungs, counted from the first one of nine epochs: ``a``, ``b``."""
    found = {LOW + "ab".index(name): score for name, score in scores.items()}
    return Standing(number, "paused", max(found), found)


def complete(number: int, score: float, **scores: float) -> Standing:
    found = {LOW + "ab".index(name): value for name, value in scores.items()} | {TOP: score}
    return Standing(number, "complete", TOP, found)


def test_rungs_of_nine_epochs_are_one_three_and_nine() -> None:
    assert LADDER.lowest(9) == LOW
    assert [LADDER.epochs(rung, 9) for rung in range(LOW, TOP + 1)] == [1, 3, 9]


@pytest.mark.parametrize(
    ("total", "reduction", "epochs"),
    [
        (1, 3, [1]), (2, 3, [2]), (3, 3, [1, 3]), (6, 3, [2, 6]), (10, 3, [1, 3, 10]), (27, 3, [1, 3, 9, 27]),
        (60, 3, [2, 7, 20, 60]), (8, 2, [1, 2, 4, 8]), (100, 2, [3, 6, 12, 25, 50, 100]), (16, 4, [1, 4, 16]),
    ],
)  # fmt: skip
def test_rungs_of_other_lengths(total: int, reduction: int, epochs: list[int]) -> None:
    ladder = Ladder(reduction)
    assert [ladder.epochs(rung, total) for rung in range(ladder.lowest(total), TOP + 1)] == epochs


def test_without_rungs_a_trial_trains_to_its_end() -> None:
    ladder = Ladder(3, with_rungs=False)
    assert ladder.epochs(ladder.lowest(9), 9) == 9


def test_a_new_trial_begins_while_no_third_of_a_rung_is_there() -> None:
    assert next_step([], LADDER) == Begin(0)
    assert next_step([paused(0, a=0.9), paused(1, a=0.5)], LADDER) == Begin(0)


def test_the_best_third_is_promoted() -> None:
    trials = [paused(0, a=0.5), paused(1, a=0.9), paused(2, a=0.7)]
    assert next_step(trials, LADDER) == Promote(1, LOW + 1)


def test_a_trial_that_was_promoted_counts_in_its_rung() -> None:
    # Of six, two may go on; trial 1 has, so 2 is next. Of five only one may.
    trials = [paused(0, a=0.5), paused(1, a=0.9, b=0.95), paused(2, a=0.7), paused(3, a=0.1), paused(4, a=0.2)]
    assert next_step(trials, LADDER) == Begin(0)
    assert next_step([*trials, paused(5, a=0.3)], LADDER) == Promote(2, LOW + 1)


def test_higher_rungs_are_promoted_first() -> None:
    first = [paused(i, a=0.1 * i) for i in range(3)]
    second = [paused(10 + i, a=0.9, b=0.1 * i) for i in range(3)]
    assert next_step([*first, *second], LADDER) == Promote(12, TOP)


def test_a_tie_goes_to_the_earlier_trial() -> None:
    assert next_step([paused(2, a=0.5), paused(1, a=0.5), paused(0, a=0.4)], LADDER) == Promote(1, LOW + 1)


def test_a_failed_trial_is_behind_all_and_still_counts() -> None:
    failed = Standing(1, "failed", LOW)
    assert next_step([paused(0, a=0.5), failed, Standing(2, "failed", LOW)], LADDER) == Promote(0, LOW + 1)
    assert [trial.number for trial in ranked([failed, paused(0, a=-5.0)], 0, LOW)] == [0, 1]


def test_a_trial_that_stopped_early_is_compared_at_the_rungs_above() -> None:
    stopped = Standing(0, "complete", LOW, {LOW: 0.8})
    trials = [stopped, paused(1, a=0.9, b=0.7), paused(2, a=0.9, b=0.6)]
    assert [trial.number for trial in ranked(trials, 0, LOW + 1)] == [0, 1, 2]
    assert next_step(trials, LADDER) == Begin(0)  # the best third of rung b is the one that is complete


def test_a_running_trial_has_no_result_at_its_rung() -> None:
    running = Standing(0, "running", LOW + 1, {LOW: 0.9})
    assert next_step([running, paused(1, a=0.5), paused(2, a=0.4)], LADDER) == Begin(0)
    assert next_step([running, paused(1, a=0.5), paused(2, a=0.4)], LADDER, may_begin=False) == Wait()


def test_when_all_have_begun_the_best_still_comes_to_the_top() -> None:
    trials = [paused(0, a=0.5), paused(1, a=0.6)]
    assert next_step(trials, LADDER, may_begin=False) == Promote(1, LOW + 1)
    trials[1] = paused(1, a=0.6, b=0.7)
    assert next_step(trials, LADDER, may_begin=False) == Promote(1, TOP)
    trials[1] = complete(1, 0.8, a=0.6, b=0.7)
    assert next_step(trials, LADDER, may_begin=False) == Done()


def test_an_eager_search_brings_one_trial_to_the_top_first() -> None:
    trials = [paused(0, a=0.5)]
    assert next_step(trials, LADDER) == Begin(0)
    assert next_step(trials, LADDER, eager=True) == Promote(0, LOW + 1)
    assert next_step([paused(0, a=0.5, b=0.6)], LADDER, eager=True) == Promote(0, TOP)
    assert next_step([paused(0, a=0.5), paused(1, a=0.55)], LADDER, eager=True) == Promote(1, LOW + 1)
    done = complete(0, 0.7, a=0.5, b=0.6)
    assert next_step([done, paused(1, a=0.55)], LADDER, eager=True) == Begin(0)
    assert next_step([done, paused(1, a=0.55), paused(2, a=0.4)], LADDER, eager=True) == Promote(1, LOW + 1)


def test_without_time_nothing_is_done() -> None:
    trials = [paused(0, a=0.5), paused(1, a=0.9), paused(2, a=0.7)]
    assert next_step(trials, LADDER, may_begin=False, may_promote=False) == Done()
    assert next_step([], LADDER, may_begin=False) == Done()


@pytest.mark.parametrize(
    ("total", "counts"),
    [
        (81, [81, 34, 15, 8, 5]),  # Li et al. 2018, table 1: R = 81, eta = 3
        (9, [9, 5, 3]),
        (27, [27, 12, 6, 4]),
    ],
)
def test_brackets_get_the_trials_of_the_paper(total: int, counts: list[int]) -> None:
    brackets = brackets_of(LADDER, total, hyperband=True)
    assert brackets == len(counts)
    trials: list[Standing] = []
    for number in range(sum(counts)):
        bracket = next_bracket(trials, 3, brackets)
        trials.append(Standing(number, "complete", TOP, {TOP: 0.0}, bracket))
    assert [sum(trial.bracket == bracket for trial in trials) for bracket in range(brackets)] == counts


def test_a_later_bracket_begins_higher() -> None:
    assert [LADDER.first(9, bracket) for bracket in range(4)] == [LOW, LOW + 1, TOP, TOP]
    assert brackets_of(LADDER, 9, hyperband=False) == 1


def test_brackets_do_not_meet() -> None:
    mine = [paused(0, a=0.5), paused(1, a=0.9)]
    other = [replace(paused(2, a=0.99), bracket=1)]
    assert isinstance(next_step([*mine, *other], LADDER, brackets=2), Begin)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("brackets", [1, 3])
@pytest.mark.parametrize("eager", [False, True])
def test_a_whole_search_spends_a_fraction_and_finds_the_best(workers: int, brackets: int, eager: bool) -> None:
    """27 trials of nine epochs, whose scores at each rung keep their order: the best is complete at the end."""
    luck = random.Random(0)
    quality = [luck.random() for _ in range(27)]
    trials: list[Standing] = []
    at_work: list[tuple[int, int]] = []
    epochs = 0
    for _ in range(10_000):
        step = next_step(trials, LADDER, brackets=brackets, may_begin=len(trials) < 27, eager=eager)
        if isinstance(step, Begin) and len(at_work) < workers:
            rung = LADDER.first(9, step.bracket)
            trials.append(Standing(len(trials), "running", rung, {}, step.bracket))
            at_work.append((len(trials) - 1, rung))
        elif isinstance(step, Promote) and len(at_work) < workers:
            trials[step.number] = replace(trials[step.number], state="running", rung=step.rung)
            at_work.append((step.number, step.rung))
        elif at_work:
            number, rung = at_work.pop(0)
            before = max((LADDER.epochs(known, 9) for known in trials[number].scores), default=0)
            epochs += LADDER.epochs(rung, 9) - before
            scores = {**trials[number].scores, rung: quality[number] * LADDER.epochs(rung, 9)}
            state = "complete" if rung == TOP else "paused"
            trials[number] = replace(trials[number], state=state, scores=scores)
        else:
            break
    assert step == Done()
    assert len(trials) == 27
    assert trials[quality.index(max(quality))].state == "complete"
    assert epochs < 27 * 9 * (0.45 if brackets == 1 else 0.65)
