"""A whole run on a tiny model: an ordinary recipe, a model that answers, and going on after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from toy import rows, write

import luthier
from luthier.core.errors import DataError, Interrupted, RecipeError, UsageError
from luthier.core.events import Event
from luthier.core.recipe import Recipe
from luthier.search import candidates as listed

FEW = ("full", "lora, rank 4")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a few candidates: these tests are about the way, not about the choice."""
    whole = listed.candidates

    def chosen(facts: Any) -> Any:
        return [one for one in whole(facts) if one.name in FEW or one.kind == "pairs lora"][:3]

    monkeypatch.setattr("luthier.automatic.session.candidates", chosen)
    monkeypatch.setattr("luthier.automatic.session.neighbours", lambda best, tried: iter(()))


def data(folder: Path, task: str = "classify", count: int = 48) -> Path:
    return write(folder / f"{task}.jsonl", rows(task, count))


def auto(tiny: Path, folder: Path, task: str = "classify", **options: Any) -> Any:
    settings = {"budget": 300.0, "model": str(tiny), "out": folder / "autos", "overrides": ["train.max_length=16"]}
    return luthier.auto(data(folder, task), **{**settings, **options})


@pytest.mark.usefixtures("few")
def test_of_many_rows_the_first_model_has_learned_a_few(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listed, "FEW_ROWS", 12)
    monkeypatch.setattr(listed, "FEW_OF_EACH", 1)
    monkeypatch.setattr("luthier.automatic.session.candidates", lambda facts: [listed.linear()])
    heard: list[str] = []
    found = auto(tiny, tmp_path, listener=lambda event: heard.append(event.message))
    assert [one["name"] for one in found.trials] == ["linear head, 12 rows", "linear head"]
    assert "A model that can be used is there: linear head, 12 rows. A better one takes its place." in heard
    shares = [Recipe.from_yaml(path).data.share for path in sorted((found.path / "trials").glob("*/recipe.yaml"))]
    assert shares == [0.316, 1.0]  # of the 38 rows that are learned


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("task", ["classify", "regress", "extract", "several"])
def test_every_task_ends_with_a_model_and_a_recipe(tiny: Path, tmp_path: Path, task: str) -> None:
    held = write(tmp_path / "held.jsonl", rows(task, 16, 1))
    found = auto(tiny, tmp_path, task, test=held)
    assert found.report["done"] is True
    assert found.report["seconds"] <= 1.05 * 300
    assert found.report["final"]["evaluated_on"] == "test"
    assert {one["name"] for one in found.trials} >= {"linear head", *FEW}
    answers = found.model().predict(["thank my parcel", "torn parcel"])
    assert len(answers) == 2
    recipe = Recipe.from_yaml(found.best["recipe_file"])
    assert recipe.data.share == 1.0
    assert recipe.method.kind == found.best["recipe"]["method"]["kind"]
    assert recipe.train.max_length == 16
    assert luthier.evaluate(found.model(), held, task="classify" if task == "several" else task).metrics


@pytest.mark.usefixtures("few")
def test_stopped_by_a_signal_it_goes_on(tiny: Path, tmp_path: Path) -> None:
    seen: list[str] = []

    def hear(event: Event) -> None:
        if event.kind == "step":
            seen.append(event.kind)
            if len(seen) == 3:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted) as caught:
        auto(tiny, tmp_path, listener=hear)
    (folder,) = (tmp_path / "autos").iterdir()
    assert f"--resume {folder}" in str(caught.value)
    assert json.loads((folder / "auto.json").read_text())["done"] is False
    assert luthier.load(folder).predict(["thank you"])[0].label in ("good", "bad")
    found = luthier.auto(resume=folder)
    assert found.report["done"] is True
    assert luthier.load(folder).predict(["thank you"])[0].label in ("good", "bad")


SCRIPT = """
import sys, luthier
luthier.auto(sys.argv[1], model=sys.argv[2], out=sys.argv[3], budget=60.0)
"""


@pytest.mark.slow
def test_killed_it_goes_on(tiny: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-c", SCRIPT, str(data(tmp_path)), str(tiny), str(tmp_path / "autos")]
    process = subprocess.Popen(words)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(0.05)
        found = list(tmp_path.glob("autos/*/trials/0[3-9]*/checkpoints/*"))
        if found:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    (folder,) = (tmp_path / "autos").iterdir()
    assert not (folder / "auto.json").exists()
    assert luthier.load(folder).predict(["thank you"])[0].label in ("good", "bad")
    finished = luthier.auto(resume=folder)
    assert finished.report["done"] is True
    assert finished.report["seconds"] <= 63
    begun = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    names = [line["candidate"]["name"] for line in begun if line["kind"] == "begun"]
    assert len(set(names)) == len(names)


@pytest.mark.slow
@pytest.mark.parametrize("budget", [20.0, 40.0])
def test_real_time_is_kept(tiny: Path, tmp_path: Path, budget: float) -> None:
    began = time.monotonic()
    auto(tiny, tmp_path, budget=budget, seed=1)
    assert time.monotonic() - began <= 1.05 * budget


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("count", "options", "code"),
    [
        (12, {}, "too_few_rows"), (1, {}, "too_few_rows"), (48, {"budget": 1.0}, "budget_too_small"),
        (48, {"overrides": ["train.seed=3"]}, "option_does_not_fit"), (48, {"validation": 0.0}, "no_held_out_rows"),
        (48, {"task": "clasify"}, None), (48, {"overrides": ["train.epoch=3"]}, None),
    ],
)  # fmt: skip
def test_bad_input_is_told_before_anything_is_trained(
    tiny: Path, tmp_path: Path, count: int, options: dict[str, Any], code: str | None
) -> None:
    path = data(tmp_path, count=count)
    with pytest.raises((DataError, RecipeError, UsageError)) as caught:
        luthier.auto(path, **{"model": str(tiny), "out": tmp_path / "autos", "budget": 30.0, **options})
    if code is not None:
        assert caught.value.code == code
    assert list((tmp_path / "autos").glob("*")) == []


def test_one_class_is_told(tiny: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "one.jsonl", [{"text": f"row {i}", "label": "a"} for i in range(40)])
    with pytest.raises(DataError) as caught:
        luthier.auto(path, model=str(tiny), out=tmp_path / "autos", budget=30.0)
    assert caught.value.code == "one_class"


def test_data_or_a_folder_but_not_both(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        luthier.auto()
    with pytest.raises(UsageError):
        luthier.auto(tmp_path / "x.csv", resume=tmp_path)
    with pytest.raises(UsageError) as caught:
        luthier.auto(resume=tmp_path)
    assert caught.value.code == "auto_not_found"
