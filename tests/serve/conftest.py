"""Tiny models that the engine's tests share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "models"))

from asking import Engine
from tiny_causal import tiny_causal
from tiny_tuned import tiny_tuned

from luthier.core.answering import EngineOptions, ModelRef


class Models:
    """A tiny base and what was tuned on it, as folders and as `ModelRef`s."""

    def __init__(self, root: Path, family: str) -> None:
        self.base = tiny_causal(root / "base", family)
        self.folders: dict[str | None, Path | None] = {None: None}
        lora = {"kind": "lora", "rank": 4}
        some = {"kind": "lora", "rank": 2, "targets": ["q_proj", "down_proj"]}
        tuned = {
            "one": lora,
            "two": some,
            "three": lora,
            "whole": {"kind": "full"},
            "prefix": {"kind": "prefix", "tokens": 3},
        }
        for seed, (name, method) in enumerate(tuned.items(), 1):
            self.folders[name] = tiny_tuned(self.base, root / name, method, seed=seed)

    def ref(self, name: str | None) -> ModelRef:
        folder = self.folders[name]
        base = str(self.base)
        return ModelRef(base, base) if name is None else ModelRef(f"ft:{name}", base, str(folder))


@pytest.fixture(scope="session", params=["llama", "gemma"])
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Models:
    """On a family that the fast path knows, and on one that it does not know."""
    return Models(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture
def engine() -> Iterator[Callable[..., Engine]]:
    """engine(**options): the scheduler of an engine, in this process."""
    made: list[Engine] = []

    def make(**options: object) -> Engine:
        made.append(Engine(EngineOptions(**{"threads": 1, **options})))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.stop()
