"""`luthier train`: options and file become one recipe; the run folder is the last line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.core.errors import Interrupted, TrainingError


def recipe_of(api):
    (name, recipe), *rest = api.calls
    assert (name, rest) == ("train", [])
    return recipe


def test_options_alone_make_a_recipe(api, luthier, data_csv):
    result = luthier(
        "train",
        "--data",
        "train.csv",
        "--task",
        "classify",
        "--method",
        "lora",
        "--set",
        "method.rank=4",
        "--set",
        "train.learning_rate=1e-4",
        "--columns",
        "label=label",
        "--validation",
        "0.2",
        "--out",
        "kept",
    )
    assert result.code == 0
    recipe = recipe_of(api)
    assert recipe.data.train == "train.csv"
    assert recipe.data.validation == 0.2
    assert recipe.data.columns == {"label": "label"}
    assert (recipe.method.kind, recipe.method.rank) == ("lora", 4)
    assert recipe.train.learning_rate == 1e-4
    assert recipe.out == "kept"


def test_the_run_folder_is_the_last_line_of_stdout_and_progress_is_not_there(api, luthier, data_csv):
    result = luthier("train", "--data", data_csv)
    lines = result.out.splitlines()
    assert lines[-1] == str(Path("runs") / "20260102-101500-fake")
    assert "0.934 [0.921, 0.946]" in result.out
    assert "always the most frequent answer" in result.out
    assert "Fine-tuning pays" in result.out
    assert "report.html" in result.out
    assert "loss 1.234" not in result.out
    assert "loss 1.234" in result.err
    assert "accuracy 0.900 (best so far)" in result.err
    assert "G8  ok  longest batch first" in result.err
    assert "warning: one row was dropped" in result.err


def test_plain_lines_are_not_one_per_step(api, luthier, data_csv):
    assert luthier("train", "--data", data_csv).err.count("tokens/s") == 1


def test_quiet_leaves_warnings_only(api, luthier, data_csv):
    result = luthier("train", "--data", data_csv, "--quiet")
    assert result.err == "warning: one row was dropped\n"


def test_json_is_one_document_and_nan_is_null(api, luthier, data_csv):
    result = luthier("train", "--data", data_csv, "--json")
    value = json.loads(result.out)
    assert set(value) == {"run", "metrics", "seconds"}
    assert value["metrics"]["accuracy"] == 0.934
    assert value["metrics"]["log_loss"] is None


@pytest.fixture
def project(here):
    """A recipe in a folder of its own, and files of the same name here."""
    folder = here / "project"
    folder.mkdir()
    for path in (here / "test.csv", folder / "train.csv", folder / "test.csv"):
        path.write_text("text,label\na,b\n", encoding="utf-8")
    recipe = "data: {train: train.csv, test: test.csv}\nmethod: {kind: lora, rank: 2}\nmodel: minilm\n"
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    return folder


def test_paths_in_a_recipe_count_from_its_folder(api, luthier, project):
    luthier("train", "project/recipe.yaml")
    assert recipe_of(api).data.train == str(Path("project") / "train.csv")
    assert recipe_of(api).data.test == str(Path("project") / "test.csv")


@pytest.mark.parametrize("words", [("--test", "test.csv"), ("--set", "data.test=test.csv")])
def test_paths_typed_count_from_here(words, api, luthier, project):
    luthier("train", "project/recipe.yaml", *words)
    assert recipe_of(api).data.train == str(Path("project") / "train.csv")
    assert recipe_of(api).data.test == "test.csv"


def test_an_option_beats_the_file_and_set_beats_both(api, luthier, project):
    luthier("train", "project/recipe.yaml", "--model", "one", "--set", "model=two", "--method", "lora")
    recipe = recipe_of(api)
    assert recipe.model == "two"
    assert recipe.method.rank == 2  # the same method keeps the file's settings


def test_another_method_drops_the_settings_of_the_first(api, luthier, project):
    luthier("train", "project/recipe.yaml", "--method", "head")
    assert recipe_of(api).method.kind == "head"


def test_a_recipe_without_data_takes_it_from_the_option(api, luthier, data_csv, here):
    (here / "r.yaml").write_text("model: minilm\n", encoding="utf-8")
    assert luthier("train", "r.yaml", "--data", "train.csv").code == 0
    assert recipe_of(api).data.train == "train.csv"


def test_resume_hands_over_the_run_and_the_overrides(api, luthier, data_csv):
    luthier("train", "--data", data_csv)
    run = Path("runs") / "20260102-101500-fake"
    result = luthier("train", "--resume", run, "--set", "train.epochs=8")
    assert result.code == 0
    assert api.calls[-1] == ("resume", (str(run), ["train.epochs=8"]))
    assert result.out.splitlines()[-1] == str(run)


@pytest.mark.parametrize(
    "error",
    [
        TrainingError("gate G2 is red: no row has a target.", remedy="Check the label column."),
        Interrupted("stopped after step 12; its state is saved.", remedy="Go on: luthier train --resume runs/a"),
    ],
)
def test_a_failed_run_is_exit_code_one_and_prints_no_folder(error, api, luthier, data_csv):
    api.fails = error
    result = luthier("train", "--data", data_csv)
    assert (result.code, result.out) == (1, "")
    assert str(error) in result.err
