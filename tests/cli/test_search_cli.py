"""`luthier search` as a person types it: options, bad input, what is shown, and the live table."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from luthier import searching
from luthier.cli.search_view import SearchTable
from luthier.core.events import Event

RATE = "{search: {low: 1e-4, high: 1e-2, log: true}}"
PARAMS = {"train.learning_rate": 1e-3}
TRIAL = {"number": 0, "state": "complete", "epoch": 9, "epochs": 9, "value": 0.9, "params": PARAMS}
REPORT: dict[str, Any] = {
    "metric": "accuracy", "higher_is_better": True, "verdict": "Trial 0 is the best of 2.", "notes": ["A note."],
    "trials": [{**TRIAL, "number": 1, "state": "pruned", "epoch": 1, "value": 0.95}, TRIAL],
    "importance": {"shares": {"train.learning_rate": 0.75, "method.rank (lora)": 0.25}},
    "best": {
        "trial": 0, "recipe": {"train": {"learning_rate": 1e-3}}, "recipe_file": "s/best.yaml", "run": "s/best",
        "metrics": {"accuracy": 0.88}, "intervals": {"accuracy": {"value": 0.88, "low": 0.85, "high": 0.91}},
    },
}  # fmt: skip


@dataclass
class FakeFound:
    path: Path
    report: dict[str, Any]

    @property
    def best(self) -> Any:
        return self.report["best"]

    @property
    def trials(self) -> Any:
        return self.report["trials"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    """`luthier.searching.search`, replaced: what was asked of it."""
    found: list[tuple[Any, dict[str, Any]]] = []

    def search(values: Any, *, listener: Any, **options: Any) -> FakeFound:
        found.append((values, options))
        listener(Event("trial", "trial 0: accuracy 90.0 % after epoch 9 of 9", data={"number": 0}))
        return FakeFound(Path("s"), REPORT)

    monkeypatch.setattr(searching, "search", search)
    return found


def test_options_become_values_and_settings(luthier: Any, data_csv: Path, asked: Any) -> None:
    result = luthier(
        "search", "--data", "train.csv", "--method", "lora", "--set", f"train.learning_rate={RATE}", "--set",
        "method.rank={search: [4, 8]}", "--trials", 7, "--budget", "2m", "--sampler", "random", "--pruner", "none",
        "--workers", 2, "--repeat", 0, "--seed", 5, "--objectives", "quality,size", "--out", "found",
    )  # fmt: skip
    assert result.code == 0
    values, options = asked[0]
    assert values["data"] == {"train": "train.csv"}
    assert values["method"] == {"kind": "lora", "rank": {"search": [4, 8]}}
    assert values["train"]["learning_rate"] == {"search": {"low": "1e-4", "high": "1e-2", "log": True}}
    wanted = {"trials": 7, "budget": 120.0, "sampler": "random", "pruner": "none", "workers": 2, "repeat": 0, "seed": 5}
    assert options | wanted == options
    assert (options["objectives"], options["out"], options["resume"]) == ("quality,size", "found", None)


def test_a_recipe_file_counts_its_files_from_its_folder(luthier: Any, data_csv: Path, asked: Any) -> None:
    folder = data_csv.parent / "recipes"
    folder.mkdir()
    (folder / "rows.csv").write_text(data_csv.read_text())
    recipe = {"data": {"train": "rows.csv", "test": "../train.csv"}, "train": {"epochs": {"search": [1, 2]}}}
    (folder / "r.yaml").write_text(yaml.safe_dump(recipe))
    assert luthier("search", "recipes/r.yaml", "--set", "search.trials=3").code == 0
    values, options = asked[0]
    assert values["data"] == {"train": "recipes/rows.csv", "test": "recipes/../train.csv"}
    assert values["search"] == {"trials": 3}
    assert options["where"] == "recipes/r.yaml"


def test_it_shows_the_trials_the_verdict_and_the_folder(luthier: Any, data_csv: Path, asked: Any) -> None:
    result = luthier("search", "--data", "train.csv", "--set", f"train.learning_rate={RATE}")
    lines = result.out.splitlines()
    assert lines[-1] == "s"
    assert "Trial 0 is the best of 2." in lines
    assert lines[1].split()[:4] == ["*", "0", "complete", "9/9"]
    assert "what mattered: train.learning_rate 75 %, method.rank (lora) 25 %" in lines
    assert "fresh run: accuracy 0.880 [0.850, 0.910]" in lines
    assert "note: A note." in lines
    assert "after epoch 9 of 9" in result.err


def test_json_is_one_document_with_best_and_trials(luthier: Any, data_csv: Path, asked: Any) -> None:
    result = luthier("search", "--data", "train.csv", "--set", f"train.learning_rate={RATE}", "--json")
    value = json.loads(result.out)
    assert value["best"]["recipe"] == {"train": {"learning_rate": 1e-3}}
    assert value["best"]["metrics"] == {"accuracy": 0.88}
    assert [trial["number"] for trial in value["trials"]] == [1, 0]


def test_resume_takes_a_folder_and_no_recipe(luthier: Any, data_csv: Path, asked: Any) -> None:
    assert luthier("search", "--resume", "s", "--trials", 9).code == 0
    values, options = asked[0]
    assert values is None
    assert (options["resume"], options["trials"]) == ("s", 9)
    for words in (["r.yaml"], ["--data", "train.csv"], ["--set", "train.epochs=2"], ["--out", "x"]):
        result = luthier("search", "--resume", "s", *words)
        assert result.code == 2
        assert "cannot stand beside it" in result.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--data", "train.csv", "--method", "lora"], "nothing to search"),
        (["--set", f"train.learning_rate={RATE}"], "nothing to learn from"),
        (["--data", "train.csv", "--set", "train.learning_rate={search: []}"], "empty"),
        (["--data", "train.csv", "--set", f"train.lerning_rate={RATE}"], "lerning_rate"),
        (["--data", "train.csv", "--set", f"train.learning_rate={RATE}", "--sampler", "bayes"], "sampler"),
        (["--data", "train.csv", "--set", f"train.learning_rate={RATE}", "--sampler", "grid"], "no grid can cover"),
        (["--data", "train.csv", "--set", f"train.learning_rate={RATE}", "--trials", "0"], "trials"),
        (["--data", "train.csv", "--set", f"train.learning_rate={RATE}", "--budget", "soon"], "no time"),
        (["--data", "train.csv", "--set", "train.seed={search: [1, 2]}"], "a seed is luck"),
        (["nothing.yaml"], "no such recipe file"),
        (["--resume", "nothing"], "no search here"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_2(luthier: Any, data_csv: Path, words: list[str], says: str) -> None:
    result = luthier("search", *words)
    assert result.code == 2
    assert says in result.err
    assert result.err.startswith("error: ")
    assert not (data_csv.parent / "searches").exists()


def test_train_says_to_search(luthier: Any, data_csv: Path) -> None:
    result = luthier("train", "--data", "train.csv", "--set", f"train.learning_rate={RATE}")
    assert result.code == 2
    assert "luthier search" in result.err


def test_the_live_table_shows_the_best_and_those_at_work() -> None:
    from rich.console import Console

    written = io.StringIO()
    view = SearchTable(Console(file=written, force_terminal=True, width=100, markup=False, highlight=False))
    state = {"trials": 3, "most_trials": 9, "elapsed": 61.0, "budget": 600.0, "metric": "accuracy", "best": 1,
             "counts": {"complete": 1, "failed": 1, "running": 1}}  # fmt: skip
    rows = [
        {"number": 0, "state": "failed", "epoch": 0, "epochs": 0, "value": None, "params": {"train.seed": 1}},
        {"number": 1, "state": "complete", "epoch": 9, "epochs": 9, "value": 0.91, "params": {"train.rate": 0.00123}},
        {"number": 2, "state": "running", "epoch": 1, "epochs": 9, "value": 0.5, "params": {"method (x)": "lora"}},
    ]
    for row in rows:
        view(Event("known" if row["number"] == 0 else "trial", "told", data=state | row))
    view(Event("step", data={"step": 3, "total_steps": 20}))
    assert "step 3/20" in str(view.table().title)
    view(Event("message", "a word\x1b[31m", "warn"))
    assert "step" not in str(view.table().title), "something else has begun"
    view.close()
    text = written.getvalue()
    assert "warning: a word" in text
    last = text[text.rindex("3 of 9 trials begun") :]
    assert "1:01 of 10:00" in last
    assert "1 failed" in last
    assert last.index("trains") < last.index("* 1")
    assert "91.0 %" in last
    assert "rate 0.00123" in last
