"""Common beginnings: the tree reproduces every row, and saves what it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.packing import pack_step
from luthier.data.prefixes import PrefixPlan, plan_prefixes, separate


def _read_back(plan: PrefixPlan, ids: np.ndarray, lengths: list[int]) -> list[list[int]]:
    """Each row, walked through the tree from the segment that holds its last token."""
    stream = ids[plan.keep]
    starts = np.concatenate(([0], np.cumsum(plan.lengths)))
    ends = np.cumsum(lengths)
    rows = []
    for end in ends:
        place = int(plan.place[end - 1])
        segment = int(np.searchsorted(starts, place, side="right")) - 1
        row = stream[starts[segment] : place + 1].tolist()
        while plan.parents[segment] >= 0:
            segment = plan.parents[segment]
            row = stream[starts[segment] : starts[segment + 1]].tolist() + row
        rows.append(row)
    return rows


def _flat(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([np.asarray(r, np.int32) for r in rows]), np.asarray([len(r) for r in rows], np.int64)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=14), min_size=1, max_size=9))
def test_every_row_can_be_read_from_the_tree(rows: list[list[int]]) -> None:
    ids, lengths = _flat(rows)
    plan = plan_prefixes(ids, lengths, least=2)
    assert _read_back(plan, ids, lengths.tolist()) == rows
    assert sum(plan.lengths) == len(plan.keep)
    assert all(parent < index for index, parent in enumerate(plan.parents))
    assert np.array_equal(ids[plan.keep][plan.place], ids)


def test_a_system_prompt_is_kept_once_and_turns_of_one_conversation_follow_each_other() -> None:
    system, first, second = [9] * 20, [1] * 16, [2] * 16
    rows = [system + first, system + first + second, system + [3] * 5]
    plan = plan_prefixes(*_flat(rows))
    assert plan.saved == 20 + 36
    assert sorted(plan.lengths) == [5, 16, 16, 20]


def test_short_common_beginnings_are_left_alone() -> None:
    ids, lengths = _flat([[1] * 15 + [2], [1] * 15 + [3]])
    assert plan_prefixes(ids, lengths).saved == 0


def test_separate_rows_keep_their_places() -> None:
    plan = separate(np.asarray([3, 2], np.int64))
    assert plan.lengths == (3, 2)
    assert plan.parents == (-1, -1)
    assert plan.keep.tolist() == plan.place.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("most_rows", [2, 100])
def test_packs_hold_every_row_once_and_stay_within_the_limit(most_rows: int) -> None:
    lengths = np.asarray([5, 9, 1, 12, 3, 7, 30, 2], np.int64)
    packs = pack_step(np.arange(8), lengths, most_rows, 12)
    assert sorted(np.concatenate(packs).tolist()) == list(range(8))
    for pack in packs:
        assert lengths[pack].sum() <= 12 or len(pack) == 1
        assert len(pack) <= most_rows


def test_packing_fills_the_fullest_pack_that_has_room() -> None:
    lengths = np.asarray([6, 5, 4, 3, 2], np.int64)
    assert [sorted(lengths[p].tolist()) for p in pack_step(np.arange(5), lengths, 9, 10)] == [[4, 6], [2, 3, 5]]
