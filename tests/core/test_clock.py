"""How long to wait before asking again."""

from __future__ import annotations

import random

import pytest

from luthier.core import clock


@pytest.mark.parametrize("attempt", [1, 2, 5])
def test_a_wait_is_doubled_each_time_and_is_never_the_same(attempt: int) -> None:
    waits = [clock.backoff(0.25, attempt) for _ in range(200)]
    middle = 0.25 * 2 ** (attempt - 1)
    assert middle * 0.5 <= min(waits) < middle * 0.7
    assert middle * 1.3 < max(waits) <= middle * 1.5


def test_waiting_takes_no_number_from_a_training_beside_it() -> None:
    before = random.getstate()
    clock.backoff(0.5, 3)
    assert random.getstate() == before
