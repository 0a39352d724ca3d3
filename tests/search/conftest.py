"""A space, and studies over it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from scored_study import EPOCHS, Searching

from luthier.search.journal import Journal, MemoryJournal
from luthier.search.settings import SearchSettings
from luthier.search.space import Space
from luthier.search.study import Study


@pytest.fixture
def space() -> Space:
    return Space.read(
        {
            "data": "train.csv",
            "method": {"search": [{"kind": "lora", "rank": {"search": [4, 8]}}, "full"]},
            "train": {"epochs": EPOCHS, "learning_rate": {"search": {"low": 1e-5, "high": 1e-1, "log": True}}},
        }
    )


@pytest.fixture
def searching(space: Space) -> Callable[..., Searching]:
    def make(journal: Journal | None = None, space: Space = space, **settings: Any) -> Searching:
        study = Study(journal or MemoryJournal(), space, SearchSettings.build({"trials": 9, **settings}))
        study.begin("accuracy", higher_is_better=True)
        return Searching(study)

    return make
