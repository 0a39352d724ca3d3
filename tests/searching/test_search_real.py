"""A search that trains: a toy base on the real workbench, here and in workers, with a fresh run that is proven."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from toy import rows, save_toy_base, write

import luthier
from luthier.core.recipe import Recipe
from luthier.core.rundir import RunDir

RATE = {"search": {"low": 1e-3, "high": 1e-1, "log": True}}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("real")
    return {
        "model": str(save_toy_base(folder)), "task": "classify", "method": "head",
        "data": {
            "train": str(write(folder / "train.jsonl", rows("classify", 48))),
            "test": str(write(folder / "test.jsonl", rows("classify", 16, seed=1))), "validation": 0.25,
        },
        "train": {"epochs": 3, "batch_size": 8, "learning_rate": RATE, "patience": 0},
        "evaluate": {"bootstrap": 100, "baselines": ["majority"]},
    }  # fmt: skip


def test_a_search_trains_proves_and_can_be_run_again(toy: dict[str, Any], tmp_path: Path) -> None:
    found = luthier.search(toy, trials=3, repeat=1, out=tmp_path)
    assert found.best is not None
    assert luthier.load(found.path).predict(["thank you"])[0].label in ("good", "bad"), "the folder answers, too"
    run = RunDir.open(found.path / "best")
    report = run.report()
    assert report is not None
    assert found.best["metrics"]["accuracy"] == report["metrics"]["accuracy"]["value"]
    assert (run.path / "report.html").is_file()
    assert found.report["task"] == "classify"
    assert Recipe.from_yaml(found.path / "best.yaml").train.learning_rate == found.best["params"]["train.learning_rate"]
    for trial in found.trials:
        folder = RunDir.open(found.path / trial["run"])
        assert folder.steps()
        assert trial["trainable_parameters"] > 0
        assert [epoch for epoch, _ in trial["curve"]] == list(range(1, trial["epoch"] + 1))
    best = next(trial for trial in found.trials if trial["number"] == found.best["trial"])
    assert best["epoch"] == 3
    history = [entry for entry in run.metrics() if "validation_metric" in entry] or None
    if history is not None:  # the fresh run of the same recipe and seed is the trial again
        assert max(entry["validation_metric"] for entry in history) == pytest.approx(best["value"])


@pytest.mark.slow
def test_workers_share_a_search(toy: dict[str, Any], tmp_path: Path) -> None:
    found = luthier.search(toy, trials=6, repeat=0, workers=2, out=tmp_path)
    assert len(found.trials) == 6
    assert len({json.dumps(trial["params"]) for trial in found.trials}) == 6
    assert found.best is not None
    assert {trial["state"] for trial in found.trials} == {"complete", "pruned"}


@pytest.mark.slow
def test_forgetting_is_an_objective(toy: dict[str, Any], tmp_path: Path) -> None:
    recipe = {**toy, "method": {"search": ["full", "head"]}}
    found = luthier.search(recipe, trials=2, repeat=0, pruner="none", objectives="quality,forgetting", out=tmp_path)
    forgotten = {trial["params"]["method"]: trial["forgetting"] for trial in found.trials}
    assert forgotten["head"] == 0.0  # nothing of the base moved
    assert forgotten["full"] >= 0.0
    assert found.report["pareto"]["trials"]
