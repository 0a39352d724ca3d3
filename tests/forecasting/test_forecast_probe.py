"""The probe: a process of its own that says what a run will take, and what it says when the run could not begin."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from journey import Journey
from toy import rows, write

import luthier
from luthier.core.errors import DataError, ModelError, RecipeError, TrainingError, UsageError
from luthier.core.recipe import Recipe
from luthier.core.rundir import RunDir
from luthier.forecasting import asking, seconds_of_run
from luthier.forecasting.probe import probe
from luthier.search import ledger
from luthier.search.stages import STAGES
from luthier.train.memory import peak_memory_bytes


def fields(journey: Journey, **more: Any) -> dict[str, Any]:
    return {
        "model": journey.base, "task": "classify", "out": journey.folder / "runs",
        "data": {"train": str(journey.train_file), "validation": str(journey.validation),
                 "test": str(journey.test_file)},
        "train__epochs": 2, "train__batch_size": 8, "evaluate__bootstrap": 100, **more,
    }  # fmt: skip


def recipe(journey: Journey, **more: Any) -> Recipe:
    from luthier.core.recipe_fields import recipe_from

    return recipe_from(None, fields(journey, **more), "test")


@pytest.mark.parametrize(
    "more",
    [
        {"method": "full"},
        {"method": "lora", "freeze__layers": 2},
        {"method": "head"},
        {"method": "prefix", "train__accumulate": 2},
        {"method": "full", "data": None},
    ],
)
def test_every_kind_of_run_is_probed(journey: Journey, tmp_path: Path, more: dict[str, Any]) -> None:
    if more.pop("data", 1) is None:
        more["data"] = {"train": str(journey.train_file), "validation": 0.0}
    found = probe(recipe(journey, **more), RunDir(tmp_path / "probe"))
    json.dumps(found, allow_nan=False)
    stages = {name: value for name, value in found["stages"].items() if name in STAGES}
    assert all(value >= 0 for value in stages.values())
    assert {"setup", "gates", "steps", "saving", "finish"} <= set(stages)
    assert ("cache" in stages) == found["workload"]["cached"]
    assert ("judging" in stages) == bool(found["workload"]["held_out_rows"])
    assert 0 < found["peak_bytes"] <= peak_memory_bytes()


def test_texts_pairs_and_numbers_are_probed_too(tiny: Path, tmp_path: Path) -> None:
    for task in ("regress", "extract"):
        data = write(tmp_path / f"{task}.jsonl", rows(task, 60))
        asked = Recipe.build({"model": str(tiny), "task": task, "data": str(data), "train": {"epochs": 1}})
        found = probe(asked, RunDir(tmp_path / task))
        assert found["stages"]["judging"] > 0


def test_a_probe_leaves_nothing_behind(journey: Journey, book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(journey.folder)
    before = sorted(journey.folder.rglob("*"))
    found = luthier.forecast(**fields(journey, method="lora"))
    assert found.basis == "probe"
    assert [path for path in sorted(journey.folder.rglob("*")) if path not in before and book.parent not in
            (path, path.parent)] == []  # fmt: skip
    assert ledger.read() == [], "a forecast is no run"

    run = luthier.train(**fields(journey, method="lora"))
    section = run.report["forecast"]
    assert section["predicted"]["basis"] == "probe", "the run remembers what was foretold of it"
    assert ledger.read()[0].extra["probe"]["seconds"] == found.to_dict()["seconds"]


def test_other_data_under_the_same_name_is_another_run(journey: Journey) -> None:
    luthier.forecast(**fields(journey))
    write(journey.train_file, rows("classify", 120, 5))
    assert luthier.train(**fields(journey)).report["forecast"]["predicted"]["basis"] == "formula"


def test_without_a_probe_nothing_is_run(journey: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    found = luthier.forecast(**fields(journey), probe=False, price_per_hour=3600.0, watts=1000.0)
    assert found.basis == "formula"
    assert found.cost["value"] == pytest.approx(found.seconds.value, abs=0.01)
    assert found.cost["energy_kwh"]["value"] == pytest.approx(found.seconds.value / 3600, rel=1e-3)
    assert found.elsewhere
    assert seconds_of_run(recipe(journey)) == pytest.approx(found.seconds.value)


def test_what_stops_a_run_stops_its_forecast(journey: Journey, tmp_path: Path) -> None:
    def said(error: type[Exception], **options: Any) -> Any:
        values = {"data": journey.train_file, "model": journey.base, "task": "classify", "probe": False, **options}
        with pytest.raises(error) as told:
            luthier.forecast(**values)
        return told.value

    assert "none.csv" in str(said(DataError, data=tmp_path / "none.csv"))
    assert said(DataError, data=write(tmp_path / "empty.jsonl", []))
    assert said(DataError, data=write(tmp_path / "one.jsonl", rows("classify", 1))).code == "too_few_rows"
    assert said(ModelError, model="no-such-model")
    assert said(RecipeError, epochs=3)
    for probed in (True, False):  # told before anything is measured
        assert said(UsageError, price_per_hour=-1.0, probe=probed).code == "invalid_price"
        assert said(UsageError, prices=tmp_path / "none.yaml", probe=probed).code == "prices_unreadable"


def test_an_error_of_the_probe_is_told_as_the_run_would(journey: Journey, tmp_path: Path) -> None:
    with pytest.raises(DataError) as told:
        luthier.forecast(data=write(tmp_path / "one.jsonl", rows("classify", 1)), model=journey.base, task="classify")
    assert told.value.code == "too_few_rows"
    assert told.value.remedy == "Add rows."


def ended(code: int, stdout: str = "", stderr: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], code, stdout, stderr)


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (ended(-9), "probe_out_of_memory"),
        (ended(137, "noise\n"), "probe_out_of_memory"),
        (ended(0, '{"memory": "DefaultCPUAllocator: not enough memory"}'), "probe_out_of_memory"),
        (ended(1, "", "Traceback\nKeyError: 'x'\n"), "probe_failed"),
        (ended(0, "no json"), "probe_failed"),
        (ended(0, ""), "probe_failed"),
        (ended(0, '{"error": {"class": "DataError", "message": "m", "where": "w", "remedy": "r", "code": "c", '
                  '"param": null}}'), "c"),
        (ended(0, '{"error": {"class": "os", "message": "m", "where": "", "remedy": "", "code": "d", "param": null}}'),
         "d"),
    ],
)  # fmt: skip
def test_a_probe_that_ends_badly_is_told(
    journey: Journey, monkeypatch: pytest.MonkeyPatch, result: subprocess.CompletedProcess[str], code: str
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: result)
    with pytest.raises(luthier.core.errors.LuthierError) as told:
        asking.ask(recipe(journey))
    assert told.value.code == code
    if code == "c":
        assert isinstance(told.value, DataError)


def test_a_probe_that_takes_too_long_is_ended(journey: Journey) -> None:
    with pytest.raises(TrainingError) as told:
        luthier.forecast(**fields(journey), timeout_seconds=0.05)
    assert told.value.code == "probe_failed"


def test_a_probe_among_other_programs_says_so(
    journey: Journey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = probe(recipe(journey), RunDir(tmp_path / "probe"))
    assert 0 < found["busy"] <= 1
    said = {}
    for busy in (1.0, 0.25):
        monkeypatch.setattr(asking, "ask", lambda *_, busy=busy, **__: {**found, "busy": busy})
        said[busy] = luthier.forecast(**fields(journey))
    assert said[0.25].seconds.low == pytest.approx(0.25 * said[1.0].seconds.low)
    assert said[0.25].seconds.high == said[1.0].seconds.high
    assert any("25% of its time" in note for note in said[0.25].notes)
    assert not any("Other programs" in note for note in said[1.0].notes)


def test_a_run_knows_that_its_probe_was_among_other_programs(
    journey: Journey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = probe(recipe(journey), RunDir(tmp_path / "probe"))
    lows = {}
    for busy in (1.0, 0.25):
        monkeypatch.setattr(asking, "ask", lambda *_, busy=busy, **__: {**found, "busy": busy})
        luthier.forecast(**fields(journey))
        section = luthier.train(**fields(journey)).report["forecast"]["predicted"]
        assert section["basis"] == "probe"
        lows[busy] = section["seconds"]["low"] / section["seconds"]["value"]
    assert lows[0.25] < 0.7 * lows[1.0]
