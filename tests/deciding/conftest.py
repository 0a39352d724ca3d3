"""Shared by the tests of decisions: tiny bases, and the fakes of the approaches' tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "train"))
sys.path.append(str(Path(__file__).resolve().parent.parent / "approaches"))
sys.path.append(str(Path(__file__).resolve().parent.parent / "models"))

from tiny_causal import tiny_causal
from toy import save_toy_base


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder."""
    return save_toy_base(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that writes."""
    return tiny_causal(tmp_path_factory.mktemp("writer"), "llama")
