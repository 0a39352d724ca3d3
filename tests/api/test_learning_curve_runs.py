"""`luthier.curve` on toy data: every point a run, killed and gone on with, early ends, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from journey import Journey
from toy import Crash, rows, write

import luthier
from luthier import api, learning_curve
from luthier.core.errors import DataError, UsageError
from luthier.core.events import Event
from luthier.core.rundir import RunDir


def drawn(journey: Journey, out: Path, **options: Any) -> learning_curve.Curve:
    fields: dict[str, Any] = {
        "model": journey.base, "task": "classify", "method": "head",
        "data": {"train": str(journey.train_file), "test": str(journey.test_file), "validation": 0.2},
        "train__epochs": 2, "train__learning_rate": 3e-2, "train__batch_size": 8, "evaluate__bootstrap": 100,
    }  # fmt: skip
    return luthier.curve(**{**fields, "out": out, "seeds": 1, "full": True, **options})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> tuple[Journey, learning_curve.Curve]:
    journey = Journey(tmp_path_factory.mktemp("curve"), tiny)
    return journey, drawn(journey, journey.folder / "curve")


def test_every_point_is_a_run_on_the_same_held_out_rows(whole: Any) -> None:
    journey, curve = whole
    report = curve.report
    assert json.loads((curve.path / "curve.json").read_text()) == report
    assert report["rows"] == 64
    assert [size["rows"] for size in report["sizes"]] == [8, 13, 23, 38, 64]
    assert report["held_out_rows"] == 30
    for entry in report["runs"]:
        run = RunDir.open(curve.path / entry["run"])
        described = json.loads(run.data_json.read_text())
        assert run.status == "finished"
        assert described["rows"] == {"train": entry["rows"], "validation": 16, "test": 30}
        assert described["split"]["seed"] == 0
        metrics = run.report()["metrics"]["accuracy"]
        assert metrics["value"] == pytest.approx(entry["value"])
        assert metrics["value"] == pytest.approx(luthier.evaluate(run.path, journey.test_file).metrics["accuracy"])
    assert report["answer"] in ("worth", "not_worth", "cannot_say")
    assert (curve.path / "curve.html").read_text().index(curve.sentence.split("(")[0]) > 0
    assert len(luthier.runs(curve.path / "runs")) == 5


def test_killed_in_the_middle_and_started_again_it_is_the_same_curve(
    whole: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    journey, curve = whole
    out = journey.folder / "killed"
    steps: list[int] = []

    def crash(event: Event) -> None:
        if event.kind == "step":
            steps.append(event.data["step"])
            if len(steps) == 9:  # in the middle of the third size
                raise Crash

    with pytest.raises(Crash):
        drawn(journey, out, listener=crash)
    done = sorted(path.name for path in (out / "points").iterdir())
    assert len(done) == 2
    judged = api.train
    trained: list[str] = []

    def watch(recipe: Any, **options: Any) -> Any:
        trained.append(options["run"].path.name)
        return judged(recipe, **options)

    monkeypatch.setattr(api, "train", watch)
    again = drawn(journey, out)
    assert len(trained) == 2  # the third was gone on with, not begun anew
    assert again.sentence == curve.sentence
    assert [size["values"] for size in again.report["sizes"]] == [size["values"] for size in curve.report["sizes"]]


def test_a_point_that_was_trained_but_not_written_down_is_judged_again(whole: Any) -> None:
    journey, curve = whole
    folder = shutil.copytree(curve.path, journey.folder / "copy")
    point = sorted((folder / "points").iterdir())[0]
    before = json.loads(point.read_text())
    point.unlink()
    drawn(journey, folder)
    after = json.loads(point.read_text())
    assert after["draws"] == before["draws"]
    assert after["value"] == before["value"]


def test_other_settings_or_data_in_the_same_folder_are_refused(whole: Any) -> None:
    journey, curve = whole
    with pytest.raises(UsageError, match=r"train\.epochs") as caught:
        drawn(journey, curve.path, train__epochs=3)
    assert caught.value.code == "curve_differs"
    other = {"train": str(journey.validation), "test": str(journey.test_file), "validation": 0.2}
    with pytest.raises((UsageError, DataError)):
        drawn(journey, curve.path, data=other)
    somewhere = journey.folder / "somewhere"
    somewhere.mkdir()
    (somewhere / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="something else"):
        drawn(journey, somewhere)
    assert [path.name for path in somewhere.iterdir()] == ["mine.txt"]


def test_seeds_go_where_they_are_cheap(journey: Journey) -> None:
    session = learning_curve._Session.__new__(learning_curve._Session)
    session.total, session.seeds = 1000, 4
    session.recipe = luthier.Recipe.build({"data": "x.csv"})
    found = {share: [point.seed for point in session._points(share)] for share in learning_curve.curve_plan.SHARES}
    assert {share: len(seeds) for share, seeds in found.items()} == {0.05: 4, 0.1: 4, 0.25: 4, 0.5: 2, 1.0: 1}


def test_a_budget_ends_it_and_says_so(journey: Journey) -> None:
    curve = drawn(journey, journey.folder / "short", budget_seconds=0.001)
    assert curve.report["stopped"]["rule"] == "budget"
    assert "budget" in curve.report["stopped"]["text"]
    assert len(curve.report["sizes"]) == 1
    assert curve.answer == "cannot_say"
    longer = drawn(journey, journey.folder / "short")
    assert longer.report["stopped"] is None
    assert len(longer.report["sizes"]) == 5


def test_a_plain_answer_ends_it_before_the_largest_size(journey: Journey) -> None:
    learned: dict[str, Any] = {"method": "full", "train__epochs": 12, "train__learning_rate": 5e-3}
    curve = drawn(journey, journey.folder / "plain", full=False, worth=3.0, **learned)
    assert curve.answer == "not_worth"
    assert curve.report["stopped"]["rule"] == "plain_answer"
    assert len(curve.report["sizes"]) == 4
    assert "expected of all rows" in curve.sentence


@pytest.mark.parametrize(("count", "words"), [(12, "at least 32 rows"), (3, "at least 32 rows")])
def test_too_few_rows_are_told_before_anything_is_trained(journey: Journey, count: int, words: str) -> None:
    few = write(journey.folder / "few.jsonl", rows("classify", count, 5))
    with pytest.raises(DataError, match=words) as caught:
        drawn(journey, journey.folder / "few", data={"train": str(few), "test": str(journey.test_file)})
    assert caught.value.code in ("too_few_rows", "cannot_split")
    assert not (journey.folder / "few").exists()


def test_a_label_that_is_an_id_is_told(journey: Journey) -> None:
    ids = [{**row, "text": f"{row['text']} {i}", "label": f"id-{i}"} for i, row in enumerate(rows("classify", 60))]
    file = write(journey.folder / "ids.jsonl", ids)
    held = write(journey.folder / "held.jsonl", ids[:10])
    with pytest.raises(DataError, match="looks like an id") as caught:
        drawn(journey, journey.folder / "ids", data={"train": str(file), "validation": str(held)})
    assert caught.value.code == "label_is_no_class"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"seeds": 0}, "invalid_setting"), ({"budget_seconds": -1}, "invalid_setting"),
        ({"worth": float("nan")}, "invalid_setting"), ({"data__share": 0.5}, "option_does_not_fit"),
        ({"data__test": None, "data__validation": 0}, "no_held_out_rows"),
    ],
)  # fmt: skip
def test_wrong_settings_are_told(journey: Journey, options: dict[str, Any], code: str) -> None:
    with pytest.raises(UsageError) as caught:
        drawn(journey, journey.folder / "wrong", **options)
    assert caught.value.code == code
    assert caught.value.param


@pytest.mark.parametrize("task", ["regress", pytest.param("extract", marks=pytest.mark.slow)])
def test_other_tasks_have_curves(journey: Journey, task: str) -> None:
    data = {
        "train": str(write(journey.folder / "t.jsonl", rows(task, 64))),
        "validation": str(write(journey.folder / "v.jsonl", rows(task, 16, 1))),
    }
    curve = drawn(journey, journey.folder / task, task=task, data=data, train__epochs=1)
    assert curve.report["metric"] == {"regress": "rmse", "extract": "f1"}[task]
    assert [size["rows"] for size in curve.report["sizes"]][-1] == 64
    assert all(size["value"] is not None for size in curve.report["sizes"])
