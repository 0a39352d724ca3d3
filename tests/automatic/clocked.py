"""A bench on which training takes the time that it is told and learns a formula."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import luthier
from luthier.automatic import Automatic
from luthier.automatic.page import page_of
from luthier.core import durable
from luthier.core.events import Event, Listener
from luthier.core.recipe import Recipe
from luthier.core.rundir import RunDir
from luthier.searching.workbench import Rung


def kind_of(recipe: Recipe) -> str:
    return ("pairs " if recipe.train.contrastive else "") + recipe.method.kind


@dataclass
class Clocked:
    """`second` is a pass over the rows; `kinds` how good each method gets; `noise` how wrong forecasts are. `reading`
    the data, `exporting` a model and `pages` take seconds, too; from `slow_from` on everything takes `slower` times as
    long."""

    folder: Path
    now: float = 0.0
    second: float = 0.5
    opening: float = 0.3
    noise: float = 0.0
    reading: float = 0.0
    exporting: float = 0.0
    pages: float = 0.0
    slow_from: float = float("inf")
    slower: float = 3.0
    kinds: dict[str, float] = field(default_factory=dict)
    patience_after: int = 99
    trained: list[str] = field(default_factory=list)
    stop_after: float = float("inf")
    """Time at which the power goes."""
    failing: tuple[str, ...] = ()
    random: random.Random = field(default_factory=lambda: random.Random(3))
    metric = "accuracy"
    higher_is_better = True

    def data(self, rows: int = 120) -> Path:
        path = self.folder / "rows.csv"
        lines = [f"text number {i},{'ab'[i % 2]}" for i in range(rows)]
        path.write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
        return path

    def auto(self, listener: Listener = lambda event: None, **options: Any) -> Automatic:
        if "resume" not in options:
            options = {"data": self.data(), "out": self.folder / "autos", **options}

        def bench(recipe: Recipe, heard: Listener) -> Any:
            self.listener = heard
            return self

        return luthier.auto(bench=bench, listener=listener, **options)

    def spend(self, seconds: float) -> None:
        seconds *= 1 + self.noise * self.random.uniform(-1, 1)
        quick = min(seconds, max(0.0, self.slow_from - self.now))
        self.now += quick + self.slower * (seconds - quick)
        if self.now > self.stop_after:
            raise PowerCut

    def page(self, report: Any, **options: Any) -> str:
        self.spend(self.pages)
        return page_of(report, **options)

    def prepared(self, recipe: Recipe) -> Any:
        from luthier.data.prepare import prepare

        self.spend(self.reading)
        return prepare(recipe.data, recipe.task, 0)

    def open(self, recipe: Recipe, folder: Path) -> ClockedRun:
        return ClockedRun(self, recipe, Path(folder))

    def epoch_seconds(self, recipe: Recipe) -> float:
        cost = {"full": 3.5, "lora": 3.0, "adapter": 3.0, "bitfit": 2.8, "head": 0.01}[recipe.method.kind]
        passes = recipe.train.contrastive.passes if recipe.train.contrastive else 1
        return self.second * cost * passes * (0.6 if recipe.freeze.layers else 1.0)

    def value(self, recipe: Recipe, epoch: int, epochs: int) -> float:
        limit = self.kinds.get(kind_of(recipe), 0.6) - 0.01 * abs(recipe.train.learning_rate_multiplier - 1)
        return limit - 0.2 * (1 - epoch / epochs)

    def train(self, recipe: Recipe, run: RunDir, listener: Listener) -> Any:
        durable.write_text(run.recipe_yaml, recipe.to_yaml())
        return self.resume(run.path, listener=listener)

    def resume(self, path: Path, listener: Listener, overrides: Any = ()) -> Any:
        run = RunDir(path)
        recipe = Recipe.from_yaml(run.recipe_yaml)
        self.trained.append(f"{path.name}: {kind_of(recipe)}")
        self.spend(self.reading + self.opening)
        trial = ClockedRun(self, recipe, path)
        trial.listener = listener
        trial.advance(recipe.train.epochs if isinstance(recipe.train.epochs, int) else 1)
        self.spend(self.exporting)
        for part in ("judging", "report"):
            listener(Event("proving", data={"part": part}))
            self.spend(0.5 + self.pages)
        write_model(run.model, kind_of(recipe))
        report = {"metrics": {"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}}, "verdict": "Accuracy 50 %."}
        durable.write_json(run.report_json, report)
        return SimpleNamespace(path=path, report=report, metrics={"accuracy": 0.5})


class PowerCut(BaseException):
    """Nothing gets a chance to save."""


class ClockedRun:
    def __init__(self, world: Clocked, recipe: Recipe, folder: Path) -> None:
        self.world, self.recipe, self.folder = world, recipe, folder
        self.listener = getattr(world, "listener", lambda event: None)
        durable.make_folder(folder)

    def advance(self, epochs: int) -> Rung:
        from luthier.core.errors import TrainingError

        world, state = self.world, self.folder / "state.json"
        done, seconds = json.loads(state.read_text()) if state.is_file() else (0, 0.0)
        total = self.recipe.train.epochs if isinstance(self.recipe.train.epochs, int) else 1
        if epochs > done:
            world.spend(world.opening)
        if kind_of(self.recipe) in world.failing:
            raise TrainingError("training diverged.", code="nonfinite_loss")
        while done < min(epochs, world.patience_after):
            before = world.now
            for _ in range(4):
                world.spend(world.epoch_seconds(self.recipe) / 4)
                self.listener(Event("step", data={"step": 1, "total_steps": 4 * total, "epochs": total}))
            done, seconds = done + 1, seconds + world.now - before
            durable.write_json(state, [done, seconds])
            durable.write_text(self.folder / "recipe.yaml", self.recipe.to_yaml())
        value = world.value(self.recipe, done, total)
        history = [{"epoch": e, "validation_metric": value, "validation_loss": 1 - value} for e in range(1, done + 1)]
        return Rung(done, value, 1 - value, seconds, 1000, done >= world.patience_after, history)

    def export(self, folder: Path) -> None:
        self.world.spend(self.world.exporting)
        write_model(folder, kind_of(self.recipe))

    def forward_seconds(self) -> float:
        return self.world.second / 96

    def rest(self) -> None:
        """Nothing is in memory."""


def write_model(folder: Path, kind: str) -> None:
    """Something that `model_folder` takes for a model."""
    durable.write_json(durable.make_folder(folder) / "luthier.json", {"kind": kind})
