"""Fixtures of the tests of the app itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from scripted import ScriptedEngine, scripted_wire
from wire import Wire


@pytest.fixture
def plain_wire(tmp_path: Path) -> Iterator[Wire]:
    """A server with the settings that it has by default."""
    with Wire(tmp_path).running() as it:
        yield it


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """One server for tests that leave nothing behind."""
    with Wire(tmp_path_factory.mktemp("shared")).running() as it:
        yield it


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Wire, ScriptedEngine]]:
    """A server whose engine says what a test scripts, and that engine."""
    with scripted_wire(tmp_path_factory.mktemp("scripted")) as it:
        yield it


@pytest.fixture
def engine(both: tuple[Wire, ScriptedEngine]) -> ScriptedEngine:
    """The scripted engine, with nothing asked yet."""
    return both[1].fresh()


@pytest.fixture
def client(both: tuple[Wire, ScriptedEngine], engine: ScriptedEngine) -> openai.OpenAI:
    """OpenAI's own client of the scripted server."""
    return both[0].client("write")
