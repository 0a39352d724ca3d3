"""Plans: every row once, a pure function of (seed, epoch), bounded batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.packing import plan_epoch, plan_inference, split_step, stream_starts

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=200).map(lambda values: np.array(values, np.int64))


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 40), st.integers(0, 2**40), st.integers(0, 50), st.booleans())
def test_each_row_once_and_the_same_again(
    lengths: np.ndarray, per_step: int, seed: int, epoch: int, longest_first: bool
) -> None:
    plan = plan_epoch(lengths, per_step, seed=seed, epoch=epoch, longest_first=longest_first)
    assert sorted(np.concatenate(plan)) == list(range(len(lengths)))
    assert len(plan) == -(-len(lengths) // per_step)
    assert sum(len(step) != per_step for step in plan) <= 1
    if longest_first:
        assert lengths[plan[0]].max() == lengths.max()
    again = plan_epoch(lengths, per_step, seed=seed, epoch=epoch, longest_first=longest_first)
    assert all(np.array_equal(a, b) for a, b in zip(plan, again, strict=True))


def test_epochs_and_seeds_differ() -> None:
    lengths = np.arange(1, 101)
    plans = [
        np.concatenate(plan_epoch(lengths, 8, seed=seed, epoch=epoch)).tolist()
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    assert plans[0] != plans[1] != plans[2] != plans[0]


def test_like_lengths_meet() -> None:
    """Padding saved is the reason for the windows: less than half of what random batches waste."""
    lengths = np.random.default_rng(0).integers(4, 200, 2000)
    plan = plan_epoch(lengths, 16, seed=0, epoch=0)
    padded = sum(int(lengths[step].max()) * len(step) for step in plan)
    order = np.random.default_rng(1).permutation(2000)
    at_random = sum(int(lengths[order[i : i + 16]].max()) * 16 for i in range(0, 2000, 16))
    total = int(lengths.sum())
    assert padded - total < 0.5 * (at_random - total)


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 40), st.integers(1, 2000))
def test_micro_batches_are_bounded_and_hold_everything(lengths: np.ndarray, batch_size: int, max_tokens: int) -> None:
    rows = np.random.default_rng(len(lengths)).permutation(len(lengths))
    batches = split_step(rows, lengths, batch_size, max_tokens)
    assert np.array_equal(np.concatenate(batches), rows)
    for batch in batches:
        assert 1 <= len(batch) <= batch_size
        assert len(batch) == 1 or int(lengths[batch].max()) * len(batch) <= max_tokens


def test_batches_are_not_smaller_than_needed() -> None:
    lengths = np.full(10, 10)
    assert [len(b) for b in split_step(np.arange(10), lengths, 8, 1000)] == [8, 2]
    assert [len(b) for b in split_step(np.arange(10), lengths, 8, 45)] == [4, 4, 2]


@settings(deadline=None)
@given(LENGTHS)
def test_inference_begins_with_the_longest(lengths: np.ndarray) -> None:
    batches = plan_inference(lengths, 8, 500)
    order = np.concatenate(batches)
    assert sorted(order) == list(range(len(lengths)))
    assert (np.diff(lengths[order]) <= 0).all()


@pytest.mark.parametrize(("lengths", "starts"), [([3, 1, 2], [0, 3, 4, 6]), ([], [0])])
def test_stream_starts(lengths: list[int], starts: list[int]) -> None:
    assert stream_starts(lengths).tolist() == starts
