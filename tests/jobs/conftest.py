"""A store on each kind of database, and what stands in it; a workshop whose real workers train a toy base."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from making import Making, MovedClock
from workshop import Workshop

from luthier.jobs.records import Project
from luthier.jobs.store import Store

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))  # the toy base


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


@pytest.fixture(scope="module")
def toy_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from toy import save_toy_base  # it brings torch, which the tests of the store do without

    return save_toy_base(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def toy_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A trunk cache of this test alone."""
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def toy_workshop(tmp_path: Path, toy_base: Path) -> Iterator[Workshop]:
    """A workshop where the operator installed the base `toy`."""
    home = tmp_path / "home"
    (home / "models").mkdir(parents=True)
    (home / "models" / "toy").symlink_to(toy_base)
    workshop = Workshop(home)
    yield workshop
    workshop.close()
