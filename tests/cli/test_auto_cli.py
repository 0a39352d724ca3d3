"""`luthier auto` as a person types it: options, times, bad input, and what is shown."""

from __future__ import annotations

import io
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import luthier as package
from luthier.automatic.found import Automatic, verdict
from luthier.cli.auto_view import AutoTable
from luthier.core import clock
from luthier.core.events import Event


def report() -> dict[str, Any]:
    def trial(number: int, name: str, value: float | None) -> dict[str, Any]:
        return {"number": number, "name": name, "value": value, "epoch": 3, "epochs": 3, "seconds": 4.2,
                "trainable_parameters": 1540, "state": "complete"}  # fmt: skip

    made: dict[str, Any] = {
        "metric": "accuracy", "metric_title": "Accuracy", "higher_is_better": True, "notes": ["a note"],
        "rows": {"train": 80, "validation": 20, "test": 0}, "baseline": {"name": "tfidf", "value": 0.7}, "final": None,
        "best": {"name": "lora, rank 16", "trial": 1, "value": 0.9, "recipe": {"model": "minilm"}, "run": None,
                 "recipe_file": "autos/one/recipe.yaml", "metrics": {"accuracy": 0.9}, "intervals": {}},
        "trials": [trial(0, "linear head", 0.8), trial(1, "lora, rank 16", 0.9), trial(2, "full", None)],
    }  # fmt: skip
    return {**made, "verdict": verdict(made)}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    """`luthier.automatic`, replaced: what was asked of it."""
    found: list[tuple[Any, dict[str, Any]]] = []

    def auto(data: Any = None, **options: Any) -> Automatic:
        found.append((data, options))
        return Automatic(Path("autos/one"), report())

    module = types.ModuleType("luthier.automatic")
    module.auto = auto  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "luthier.automatic", module)
    monkeypatch.setattr(package, "automatic", module, raising=False)
    return found


def test_options_reach_it_and_the_folder_comes_last(luthier: Any, data_csv: Path, asked: Any) -> None:
    result = luthier(
        "auto", str(data_csv), "--budget", "90s", "--task", "classify", "--columns", "label=stars", "--seed", "3",
        "--set", "train.max_length=64", "--validation", "0.2", "--quiet",
    )  # fmt: skip
    assert result.code == 0
    (data, options) = asked[0]
    assert data == [str(data_csv)]
    assert (options["budget"], options["validation"], options["seed"]) == (90.0, 0.2, 3)
    assert options["overrides"] == ["train.max_length=64"]
    assert options["columns"] == {"label": "stars"}
    assert 0 < options["spent"] <= 60, "the start of the command is part of its budget"
    assert result.out.strip().splitlines()[-1] == "autos/one"
    assert "* lora, rank 16" in result.out
    assert "more than a linear model on word counts" in verdict(report())


def test_without_a_budget_it_is_ten_minutes(luthier: Any, data_csv: Path, asked: Any) -> None:
    assert luthier("auto", str(data_csv), "--quiet").code == 0
    assert asked[0][1]["budget"] == 600.0


def test_json_has_the_keys_that_others_rely_on(luthier: Any, data_csv: Path, asked: Any) -> None:
    result = luthier("auto", str(data_csv), "--json")
    document = json.loads(result.out)
    assert document["best"]["recipe"] == {"model": "minilm"}
    assert document["best"]["metrics"] == {"accuracy": 0.9}
    assert [one["name"] for one in document["trials"]] == ["linear head", "lora, rank 16", "full"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "nothing to learn from"), (["x.csv", "--budget", "soon"], "no time"),
        (["x.csv", "--resume", "autos/one"], "--resume"), (["--resume", "autos/one", "--budget", "5m"], "--budget"),
        (["x.csv", "--budgt", "5m"], "--budget"),
    ],
)  # fmt: skip
def test_wrong_usage_is_told(luthier: Any, asked: Any, words: list[str], says: str) -> None:
    result = luthier("auto", *words)
    assert result.code == 2
    assert says in result.err
    assert asked == []


def test_it_goes_on_with_a_folder(luthier: Any, asked: Any) -> None:
    assert luthier("auto", "--resume", "autos/one", "--quiet").code == 0
    assert (asked[0][0], asked[0][1]["resume"]) == (None, "autos/one")


def test_the_live_table_shows_who_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    view = AutoTable(Console(file=out, force_terminal=True, width=100, highlight=False, markup=False))
    state = {"metric": "accuracy", "budget": 90.0, "elapsed": 12.0, "higher_is_better": True, "epochs": 3, "error": "",
             "seconds": 1.0}  # fmt: skip
    rows = [
        (0, "linear head", "complete", 0.8, 0), (1, "full [red]", "running", None, 0), (1, "full", "complete", 0.9, 1),
    ]  # fmt: skip
    for number, name, is_now, value, best in rows:
        data = {**state, "number": number, "name": name, "state": is_now, "value": value, "epoch": 1, "best": best}
        view(Event("trial", data=data))
    view(Event("message", "A \x1b[31mnote", "warn"))
    assert str(view.table().title).startswith("2 candidates  0:12 of 1:30")
    moved = clock.monotonic() + 30.0
    monkeypatch.setattr(clock, "monotonic", lambda: moved)
    assert "0:42 of 1:30" in str(view.table().title), "the clock goes on while a trial says nothing"
    view.close()
    text = out.getvalue()
    assert "* full" in text
    assert "90.0 %" in text
    assert "warning: A" in text
    assert "\x1b[31mnote" not in text


def test_the_verdict_says_when_words_do_as_well() -> None:
    made = report()
    made["baseline"]["value"] = 0.95
    assert "no more than a linear model on word counts" in verdict(made)
