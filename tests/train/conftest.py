"""Shared by the tests of the train room: tiny bases, toy data, and a cache folder of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "models"))

from tiny_bases import save_base
from toy import TrainToy, save_toy_base

from luthier.models.base_source import BaseSource, from_folder


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], BaseSource]:
    """base(family): a tiny random base model on disk, made once; "toy" knows the words of toy.py."""
    made: dict[str, BaseSource] = {}

    def get(family: str) -> BaseSource:
        if family not in made:
            place = tmp_path_factory.mktemp(family)
            folder = save_toy_base(place) if family == "toy" else save_base(family, place)
            made[family] = from_folder(folder, name=str(folder))
        return made[family]

    return get


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The trunk cache of this test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("LUTHIER_CACHE", str(folder))
    return folder


@pytest.fixture
def toy(tmp_path: Path, base: Callable[[str], BaseSource]) -> TrainToy:
    """Trains in this test's folder."""
    return TrainToy(tmp_path, base("toy").path)
