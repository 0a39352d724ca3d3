"""Searches on a bench that learns a formula, with a fresh run that costs nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "train"))

from fake_bench import FakeBench

from luthier import api, searching
from luthier.core import durable
from luthier.core.events import Event
from luthier.core.recipe import Recipe
from luthier.core.rundir import RunDir

RATE = {"search": {"low": 1e-4, "high": 1e-2, "log": True}}


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """The recipes that were trained afresh."""
    found: list[Recipe] = []

    def train(recipe: Recipe, *, run: RunDir, listener: Any) -> api.Run:
        found.append(recipe)
        report = {"metrics": {"accuracy": {"value": 0.88, "low": 0.85, "high": 0.91}}}
        durable.write_text(run.recipe_yaml, recipe.to_yaml())
        durable.write_json(run.report_json, report)
        return api.Run(run.path, report, 1.0)

    monkeypatch.setattr(api, "train", train)
    return found


class Place:
    """A folder with rows, and searches over them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "train.csv"
        self.data.write_text("text,label\n" + "".join(f"row {i},{i % 2}\n" for i in range(40)), encoding="utf-8")
        self.events: list[Event] = []

    def recipe(self, **more: Any) -> dict[str, Any]:
        return {
            "data": str(self.data), "method": {"kind": "lora", "rank": {"search": [4, 8, 16]}},
            "train": {"epochs": 9, "learning_rate": RATE}, **more,
        }  # fmt: skip

    def search(self, bench: FakeBench | None = None, **options: Any) -> searching.Found:
        made = bench or FakeBench(noise=0.003)
        values = None if "resume" in options else options.pop("recipe", None) or self.recipe()
        options = {"trials": 9, "repeat": 2, **options} if "resume" not in options else options
        return searching.search(
            values, bench=lambda recipe, listener: made, out=self.folder / "searches", listener=self.events.append,
            **options,
        )  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, fresh: list[Recipe]) -> Place:
    return Place(tmp_path)


Search = Callable[..., searching.Found]
