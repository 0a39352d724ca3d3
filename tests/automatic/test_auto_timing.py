"""Arithmetic over the time that is left."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from luthier.automatic.timing import END, Timing
from luthier.search.candidates import linear
from luthier.search.choosing import Pace


def timing(left: float, *, learned: int = 9_000, compared: int = 1_000) -> Timing:
    clockwork: Any = SimpleNamespace(left=left)
    found = Timing(cast(Any, clockwork), 60.0, learned=learned, compared=compared, judged=3_000)
    found.pace = Pace(0.005 * learned, 1.0)
    return found


def test_as_many_rows_are_learned_as_time_allows() -> None:
    """5 ms a row: in 42 s less a second of opening, 5 s of judging and the end."""
    assert timing(42.0).rows_that_fit() == int((42.0 - 1.0 - 5.0 - END) / (1.1 * 0.005))
    assert timing(4.0).rows_that_fit() == 0
    assert timing(1_000.0).rows_that_fit() > 9_000


@pytest.mark.parametrize("known", [False, True])
def test_what_the_frozen_base_makes_of_the_rows_is_made_once(known: bool) -> None:
    one = timing(20.0)
    one.is_frozen = known
    assert one.allows_new(linear(0.01), 1, []) is known
