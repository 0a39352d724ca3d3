"""The whole journey from Python: train, report, load, predict, evaluate, resume; and what goes wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from journey import Journey
from toy import Crash, rows, write

import luthier
from luthier.core import durable
from luthier.core.errors import ModelError, RecipeError, UsageError
from luthier.core.events import Event
from luthier.core.rundir import RunDir

KEYS = {
    "task", "model", "method", "metrics", "baselines", "curves", "forgetting", "fairness", "data", "cost",
    "environment", "warnings",
}  # fmt: skip
COST = {"seconds", "tokens", "tokens_per_second", "peak_memory_bytes", "trainable_parameters", "total_parameters"}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> tuple[Journey, luthier.Run]:
    """One finished run that several tests look at."""
    journey = Journey(tmp_path_factory.mktemp("done"), tiny)
    run = journey.train(
        train__epochs=10, method={"kind": "lora", "rank": 4}, evaluate__baselines=["majority", "tfidf", "frozen"]
    )
    return journey, run


def test_public_names_are_not_hidden_by_rooms() -> None:
    """Two rooms are called as two functions are; importing them must not change what a user calls."""
    import luthier.evaluate.evaluation
    import luthier.train.run

    for name in luthier.__all__:
        if name != "__version__":
            assert callable(getattr(luthier, name)), name


def test_the_run_and_its_metrics(done: tuple[Journey, luthier.Run]) -> None:
    journey, run = done
    assert run.path.parent == journey.folder / "runs"
    assert run.path.name.endswith("train-lora")
    assert run.metrics["accuracy"] > 0.9
    assert run.seconds > 0
    assert json.loads((run.path / "report.json").read_text()) == run.report
    names = {path.name for path in run.path.iterdir()}
    assert names >= {
        "recipe.yaml", "events.jsonl", "metrics.jsonl", "checkpoints", "model", "report.json", "report.html",
        "README.md", "data.json",
    }  # fmt: skip
    assert not [path for path in run.path.rglob("*") if path.name.startswith(durable.TEMPORARY_PREFIX)]
    assert RunDir(run.path).status == "finished"


def test_report_has_what_others_rely_on(done: tuple[Journey, luthier.Run]) -> None:
    _, run = done
    report = run.report
    assert set(report) >= KEYS
    assert set(report["cost"]) >= COST
    assert all(report["cost"][key] is not None for key in COST)
    assert report["cost"]["trainable_parameters"] < report["cost"]["total_parameters"]
    cell = report["metrics"]["accuracy"]
    assert cell["low"] <= cell["value"] <= cell["high"]
    assert {"majority", "frozen"} <= set(report["baselines"])
    assert len(report["baselines"]) == 3
    assert report["baselines"]["majority"]["accuracy"]["value"] == pytest.approx(0.5)
    assert report["rows"] == 30
    assert {"rows", "sha256", "dropped", "duplicates", "leaks"} <= set(report["data"])
    assert report["data"]["rows"] == {"train": 80, "validation": 24, "test": 30}
    assert [point["epoch"] for point in report["curves"]] == list(range(1, len(report["curves"]) + 1))
    assert {"step", "train_loss", "validation_loss"} <= set(report["curves"][0])
    assert report["environment"]["torch"]
    assert report["calibration"]["temperature"] > 0
    assert report["comparisons"]


def test_the_page_loads_nothing_from_elsewhere(done: tuple[Journey, luthier.Run]) -> None:
    _, run = done
    page = (run.path / "report.html").read_text()
    assert "</html>" in page
    assert not re.findall(r"<(?:script|img|iframe|link|object)[^>]*(?:src|href|data)=[\"']?(?!data:)[^\s>]+", page)
    assert not re.search(r"url\(\s*[\"']?(?:https?:)?//|@import|fetch\(|XMLHttpRequest", page)
    assert run.report["verdict"].split(".")[0][:20] in page


def test_card_and_data(done: tuple[Journey, luthier.Run]) -> None:
    journey, run = done
    card = (run.path / "README.md").read_text()
    assert card.startswith("---\n")
    assert "luthier" in card
    data = json.loads((run.path / "data.json").read_text())
    assert data["labels"] == ["bad", "good"]
    assert str(journey.train_file) in json.dumps(data)


def test_load_and_predict(done: tuple[Journey, luthier.Run]) -> None:
    _, run = done
    model = luthier.load(run.path)
    assert list(model.labels) == ["bad", "good"]
    answers = model.predict(["wonderful service", "the torn parcel"])
    assert [answer.label for answer in answers] == ["good", "bad"]
    for answer in answers:
        assert sum(answer.scores.values()) == pytest.approx(1, abs=1e-5)
        assert answer.score == answer.scores[str(answer.label)]
    assert list(model.stream(iter(["wonderful service", "the torn parcel"]))) == answers
    careful = luthier.load(run.path, threshold=1.0)
    assert careful.predict(["wonderful service"])[0].abstained
    with pytest.raises(UsageError):
        luthier.load(run.path, threshold=1.5)


def test_the_model_scores_what_the_report_says(done: tuple[Journey, luthier.Run]) -> None:
    journey, run = done
    test = [json.loads(line) for line in journey.test_file.read_text().splitlines()]
    answers = luthier.load(run.path).predict([row["text"] for row in test])
    right = sum(answer.label == row["label"] for answer, row in zip(answers, test, strict=True))
    assert right / len(test) == pytest.approx(run.metrics["accuracy"])


def test_every_answer_is_kept_for_later(done: tuple[Journey, luthier.Run]) -> None:
    journey, run = done
    test = [json.loads(line) for line in journey.test_file.read_text().splitlines()]
    kept = [json.loads(line) for line in (run.path / "answers.jsonl").read_text().splitlines()]
    assert [row["text"] for row in kept] == [row["text"] for row in test]
    assert [row["line"] for row in kept] == list(range(1, len(test) + 1))
    right = sum(row["predicted"] == row["expected"] for row in kept)
    assert right / len(kept) == pytest.approx(run.metrics["accuracy"])
    assert all((row["wrong"] == 0) == (row["predicted"] == row["expected"]) for row in kept)
    assert sum(kept[0]["scores"].values()) == pytest.approx(1, abs=1e-4)


def test_evaluate_a_run_with_its_baselines(done: tuple[Journey, luthier.Run]) -> None:
    journey, run = done
    found = luthier.evaluate(run.path, journey.test_file)
    assert found.metrics["accuracy"] == pytest.approx(run.metrics["accuracy"])
    assert len(found.baselines) == 3
    printed = found.to_dict()
    assert {"metrics", "rows", "baselines", "verdict"} <= set(printed)
    json.dumps(printed, allow_nan=False)
    with pytest.raises(UsageError):
        luthier.evaluate(run.path, journey.test_file, task="regress")


def test_evaluate_a_predictor(done: tuple[Journey, luthier.Run]) -> None:
    journey, run = done
    found = luthier.evaluate(luthier.load(run.path), str(journey.test_file))
    assert found.metrics["accuracy"] == pytest.approx(run.metrics["accuracy"])
    assert not found.baselines


def test_evaluate_without_the_training_data(done: tuple[Journey, luthier.Run]) -> None:
    journey, run = done
    hidden = journey.train_file.with_suffix(".hidden")
    journey.train_file.rename(hidden)
    heard: list[Event] = []
    try:
        found = luthier.evaluate(run.path, journey.test_file, listener=heard.append)
    finally:
        hidden.rename(journey.train_file)
    assert not found.baselines
    assert any(event.level == "warn" for event in heard)


def test_evaluate_a_base(journey: Journey) -> None:
    found = luthier.evaluate(str(journey.base), journey.test_file, task="classify", train=journey.train_file)
    assert set(found.baselines) >= {"majority"}
    assert "frozen" not in found.baselines
    assert 0 <= found.metrics["accuracy"] <= 1
    with pytest.raises(UsageError) as caught:
        luthier.evaluate(str(journey.base), journey.test_file, task="classify")
    assert caught.value.code == "base_without_head"


def test_check(journey: Journey) -> None:
    report = luthier.check(journey.train_file, model=str(journey.base))
    assert report.ok
    assert not luthier.check(
        write(journey.folder / "bad.jsonl", [{"text": "", "label": "a"}, {"text": "x", "label": "b"}]),
        model=str(journey.base),
    ).ok


@pytest.mark.parametrize("task", ["regress", "extract", "several"])
def test_other_tasks_go_all_the_way(journey: Journey, task: str) -> None:
    train = write(journey.folder / f"{task}.jsonl", rows(task, 60))
    test = write(journey.folder / f"{task}-test.jsonl", rows(task, 20, 2))
    plain = "classify" if task == "several" else task
    run = journey.train(task=plain, data={"train": str(train), "validation": 0.2, "test": str(test)})
    primary = {"regress": "spearman", "extract": "f1", "several": "micro_f1"}[task]
    assert primary in run.metrics
    answer = run.model().predict(["thank thank invoice"])[0]
    if task == "regress":
        assert answer.score is not None
        assert 90 < answer.score < 130, "in the unit of the data, not standardised"
    elif task == "extract":
        assert answer.spans is not None
    else:
        assert answer.labels is not None


def test_scratch_is_a_baseline_when_asked(journey: Journey) -> None:
    run = journey.train(train__epochs=1, evaluate__baselines=["majority", "scratch"])
    assert "accuracy" in run.report["baselines"]["scratch"]
    assert not (run.path / ".scratch").exists()


def test_without_held_out_rows_nothing_is_proved(journey: Journey) -> None:
    run = journey.train(data={"train": str(journey.train_file), "validation": 0.0})
    assert run.metrics == {}
    assert any("held-out" in warning for warning in run.report["warnings"])
    assert (run.path / "report.html").is_file()
    assert run.model().predict(["ok"])[0].label in ("bad", "good")


def test_validation_figures_say_so(journey: Journey) -> None:
    run = journey.train(data={"train": str(journey.train_file), "validation": str(journey.validation)})
    assert run.report["evaluated_on"] == "validation"
    assert any("validation rows" in warning for warning in run.report["warnings"])


def test_resume_extends_a_finished_run(journey: Journey) -> None:
    run = journey.train()
    longer = luthier.resume(run.path, overrides=["train.epochs=3", "train.patience=0"])
    assert longer.path == run.path
    assert [point["epoch"] for point in longer.report["curves"]] == [1, 2, 3]
    assert longer.report["cost"]["steps"] == 30


def test_resume_from_another_folder(journey: Journey, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    def stop(event: Event) -> None:
        if event.kind == "checkpoint":
            raise Crash

    with pytest.raises(Crash):
        journey.train(data={"train": "train.jsonl", "validation": 0.2}, out="runs", listener=stop)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = luthier.resume(luthier.runs(tmp_path / "runs")[0].path)
    assert len(run.report["curves"]) == 2


@pytest.mark.parametrize("override", ["train.batch_size=4", "model=other", "method.kind=lora", "train.seed=1"])
def test_resume_refuses_what_makes_another_run(done: tuple[Journey, luthier.Run], override: str) -> None:
    _, run = done
    with pytest.raises(RecipeError) as caught:
        luthier.resume(run.path, overrides=[override])
    assert caught.value.code == "not_resumable"
    assert "train.epochs" in caught.value.remedy


def test_resume_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        luthier.resume(tmp_path / "runs" / "none")
    assert caught.value.code == "run_not_found"


def test_runs_and_compare(done: tuple[Journey, luthier.Run]) -> None:
    journey, run = done
    assert [item.path for item in luthier.runs(journey.folder / "runs")] == [run.path]
    from luthier.api import compare_runs

    table = compare_runs([run.path])
    assert table[0]["metrics"]["accuracy"]["value"] == run.metrics["accuracy"]


def test_recipe_or_fields() -> None:
    with pytest.raises(RecipeError) as caught:
        luthier.train(data="x.csv", train__epoch=3)
    assert "epochs" in caught.value.remedy
    recipe = luthier.Recipe.build({"data": "x.csv"})
    with pytest.raises(UsageError):
        luthier.train(recipe, task="classify")


def test_training_breaks_no_random_state(journey: Journey) -> None:
    """Two trainings in one process give the same numbers, whatever was drawn between."""
    import torch

    first = journey.train()
    torch.rand(100)
    second = journey.train()
    assert first.report["curves"] == second.report["curves"]
