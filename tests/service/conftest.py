"""Fixtures of the tests of the whole system."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from live import Live


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    """A server of this test alone: `live.base_url`, `live.key`, `live.home`, `live.process`, `live.client()`."""
    server = Live(tmp_path / "home").start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def shared_live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server that the tests of one file share."""
    server = Live(tmp_path_factory.mktemp("service") / "home").start()
    yield server
    server.stop()
