"""A store on each kind of database, and what stands in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from making import Making, MovedClock

from luthier.jobs.records import Project
from luthier.jobs.store import Store


@pytest.fixture
def moved_clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def store(database_url: str, moved_clock: MovedClock) -> Iterator[Store]:
    """An empty store, on each kind of database."""
    store = Store.open(database_url, clock=moved_clock)
    yield store
    store.close()


@pytest.fixture
def project(store: Store) -> Project:
    return store.projects.default()


@pytest.fixture
def make(store: Store, project: Project) -> Making:
    return Making(store, project)
