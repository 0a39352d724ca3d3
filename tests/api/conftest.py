"""Shared by the tests of the Python face: a tiny base, a place to work in, and a cache folder of their own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "train"))

from journey import Journey
from toy import save_toy_base


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The trunk cache of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTHIER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_toy_base(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def journey(tmp_path: Path, tiny: Path) -> Journey:
    return Journey(tmp_path, tiny)
