"""From data to a proven run that writes: report, page, card, `luthier eval`, with a tiny base."""

from __future__ import annotations

import json

import pytest
import torch
from fake_writers import FakeWriter
from tiny_causal import tiny_causal

from luthier import language_proof
from luthier.api import evaluate
from luthier.core.errors import DataError, ModelError, RecipeError, UsageError
from luthier.core.recipe import Recipe
from luthier.core.rundir import RunDir
from luthier.data.dataset import Dataset
from luthier.evaluate.scorers import scorer_for
from luthier.language_proof import check_judging, judge_language
from luthier.models.language_predictor import LanguageModel
from luthier.proof import prove
from luthier.train.run import new_run, train

WORDS = ("red", "green", "blue", "one", "two", "three")
GRADER = {
    "type": "string_check", "name": "colour", "input": "{{ sample.output_text }}", "operation": "eq",
    "reference": "{{ item.wanted }}",
}  # fmt: skip
JUDGE = {"type": "score_model", "name": "judge", "model": "any", "input": [{"role": "user", "content": "?"}]}


def write_rows(path, count):
    lines = []
    for index in range(count):
        word = WORDS[index % len(WORDS)]
        turns = [{"role": "user", "content": f"say {word} now"}, {"role": "assistant", "content": word}]
        lines.append(json.dumps({"messages": turns, "wanted": word, "row": index}))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proof")
    tiny_causal(folder / "base", "llama")
    write_rows(folder / "train.jsonl", 24)
    write_rows(folder / "test.jsonl", 8)
    return folder


def recipe_of(place, **changes):
    recipe = Recipe.build({
        "model": str(place / "base"), "task": "chat", "out": str(place / "runs"), "method": "lora",
        "data": {"train": str(place / "train.jsonl"), "validation": str(place / "test.jsonl")},
        "train": {"epochs": 4, "batch_size": 8, "learning_rate": 1e-2},
        "evaluate": {"samples": 2, "max_tokens": 4, "bootstrap": 100, "graders": [GRADER, JUDGE],
                     "baselines": ["base", "scratch"]},
    })  # fmt: skip
    return recipe.replace(**changes)


def trained_of(recipe):
    return train(
        recipe, new_run(recipe), scorer_for=scorer_for, listener=lambda event: None, preflight=False, resume=True
    )


@pytest.fixture(scope="module")
def proven(place):
    trained = trained_of(recipe_of(place))
    report, evaluation = prove(trained, lambda event: None)
    return RunDir(trained.run.path), report, evaluation


def test_a_run_that_writes_is_proven_against_its_base(proven):
    run, report, evaluation = proven
    assert run.report() == report
    assert set(report["baselines"]) == {"base", "scratch"}
    assert report["metrics"]["loss"]["value"] < report["baselines"]["base"]["loss"]["value"]
    assert report["metrics"]["loss"]["value"] == pytest.approx(report["curves"][-1]["validation_loss"], rel=1e-3)
    assert report["verdict"].startswith("Loss on 8 validation rows ")
    assert report["verdict"].count("of the untuned base") == 2
    assert evaluation.kind == "short"
    assert report["metrics"]["grader:colour"] == report["metrics"]["exact_match"]
    assert any("judge" in warning for warning in report["warnings"])
    assert any("validation rows" in warning for warning in report["warnings"])
    assert [len(sample["answers"]) for sample in report["samples"]] == [5, 5]
    assert report["samples"][0]["answers"][0]["when"] == "Before training"
    assert report["notes"]["tokens_read"] > 0
    page = run.report_html.read_text()
    assert "The same questions, before and after" in page
    assert "luthier train" in page
    assert "text-generation" in run.card.read_text()
    assert not (run.path / ".scratch").exists()


def test_every_measured_row_is_kept_with_its_answer(proven):
    run, report, _ = proven
    kept = [json.loads(line) for line in run.answers_jsonl.read_text().splitlines()]
    assert len(kept) == report["rows"] == 8
    assert all({"expected", "predicted", "wrong", "loss", "tokens"} <= set(row) for row in kept)
    loss = sum(row["loss"] for row in kept) / sum(row["tokens"] for row in kept)
    assert loss == pytest.approx(report["metrics"]["loss"]["value"])
    exact = sum(row["predicted"] == row["expected"] for row in kept) / 8
    assert exact == report["metrics"]["exact_match"]["value"]


def test_eval_of_the_run_and_of_the_base_agree_with_the_report(proven, place):
    run, report, _ = proven
    found = evaluate(run.path, place / "test.jsonl").to_dict()
    assert found["metrics"] == report["metrics"]
    assert found["baselines"]["base"] == report["baselines"]["base"]
    assert found["comparisons"][0]["name"] == "base"
    assert "given rows" in found["verdict"]
    base = evaluate(str(place / "base"), place / "test.jsonl", generate_rows=3)
    assert base.judged.answered == 3
    assert base.metrics["loss"] == pytest.approx(report["baselines"]["base"]["loss"]["value"])
    model = LanguageModel.load(run.path)
    assert evaluate(model, place / "test.jsonl", generate_rows=0).metrics["loss"] == pytest.approx(
        report["metrics"]["loss"]["value"]
    )


def test_a_judging_model_can_be_connected(proven, place):
    run, _, _ = proven
    found = evaluate(run.path, place / "test.jsonl", ask=lambda messages: '{"result": 0.5}', judge_name="a judge")
    assert found.metrics["grader:judge"] == 0.5
    assert any("a judge" in note for note in found.judged.notes)


def test_data_for_another_task_are_refused(place, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("text,label\ngood,yes\nbad,no\n")
    with pytest.raises(UsageError, match="classify"):
        evaluate(str(place / "base"), path)


def test_an_export_that_answers_differently_is_refused(place, monkeypatch):
    trained = trained_of(recipe_of(place, **{"train.epochs": 1, "evaluate.samples": 0}))
    load = LanguageModel.load

    def damaged(path):
        model = load(path)
        with torch.no_grad():
            next(model.model.parameters()).add_(0.1)
        return model

    monkeypatch.setattr(language_proof.LanguageModel, "load", damaged)
    with pytest.raises(ModelError) as caught:
        prove(trained, lambda event: None)
    assert caught.value.code == "export_differs"
    assert not trained.run.report_json.exists()


def test_without_held_out_rows_nothing_is_proven(place):
    trained = trained_of(
        recipe_of(
            place, **{"train.epochs": 1, "evaluate.samples": 0, "data.validation": 0.0, "method": {"kind": "full"}}
        )
    )
    report, evaluation = prove(trained, lambda event: None)
    assert evaluation is None
    assert report["metrics"] == {}
    assert "Nothing was proved" in report["verdict"]
    assert trained.run.report_html.is_file()


def test_mistakes_of_graders_are_found_before_training(place):
    check_judging(recipe_of(place))
    with pytest.raises(DataError, match=r"item\.colour"):
        check_judging(recipe_of(place, **{"evaluate.graders": [{**GRADER, "reference": "{{ item.colour }}"}]}))
    with pytest.raises(RecipeError, match="operation"):
        check_judging(recipe_of(place, **{"evaluate.graders": [{**GRADER, "operation": "same"}]}))
    with pytest.raises(RecipeError, match="rougeL"):
        check_judging(recipe_of(place, **{"evaluate.metrics": ["rouge"]}))


@pytest.mark.parametrize(
    ("key", "value", "sees"),
    [
        ("run_code", True, lambda found: "code_compiles" in found.metrics),
        ("generate_rows", 3, lambda found: found.answered),
        ("graders", [GRADER], lambda found: sorted(found.metrics)),
    ],
)
def test_flipping_a_key_of_evaluate_changes_what_is_found(place, key, value, sees):
    def found(**changes):
        recipe = recipe_of(place, **{"evaluate.graders": [], "data.test": str(place / "test.jsonl"), **changes})
        dataset = Dataset.open(recipe.data.test, task="chat")
        writer = FakeWriter(lambda prompt: "red")
        return judge_language(writer, list(dataset.samples()), recipe.evaluate, dataset)

    assert sees(found()) != sees(found(**{f"evaluate.{key}": value}))
    assert sees(found()) == sees(found())
