"""Shared by the tests of forecasts that train: a tiny base, files, a ledger of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "train"))

from journey import Journey
from toy import save_toy_base


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_toy_base(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def journey(tmp_path: Path, tiny: Path) -> Journey:
    return Journey(tmp_path, tiny)


@pytest.fixture(autouse=True)
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ledger."""
    path = tmp_path / "ledger" / "forecasts.jsonl"
    monkeypatch.setenv("LUTHIER_LEDGER", str(path))
    monkeypatch.delenv("LUTHIER_PRICES", raising=False)
    return path
