"""A clock that only moves when something is trained, and a bench that trains nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "train"))

from clocked import Clocked
from toy import save_toy_base

from luthier.core import clock


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Clocked:
    """A world in which time passes as its bench says."""
    world = Clocked(tmp_path)
    monkeypatch.setattr(clock, "monotonic", lambda: world.now)
    monkeypatch.setattr("luthier.automatic.ending.api.train", world.train)
    monkeypatch.setattr("luthier.automatic.ending.api.resume", world.resume)
    monkeypatch.setattr("luthier.automatic.run.page_of", world.page)
    return world


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_toy_base(tmp_path_factory.mktemp("toy"))


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The trunk cache of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTHIER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
