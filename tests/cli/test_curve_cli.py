"""`luthier curve` as a person types it: options, times, bad input, and what is shown."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import luthier as package
from luthier.cli.budget import seconds_of
from luthier.core.errors import UsageError
from luthier.core.recipe import Recipe
from luthier.evaluate.curve_report import curve_report
from luthier.evaluate.learning_curve import DRAWS, Size, judge_curve


@dataclass
class FakeCurve:
    path: Path
    report: dict[str, Any]

    @property
    def sentence(self) -> str:
        return str(self.report["sentence"])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Recipe, dict[str, Any]]]:
    """`luthier.learning_curve`, replaced: what was asked of it."""
    found: list[tuple[Recipe, dict[str, Any]]] = []

    def curve(recipe: Recipe, **options: Any) -> FakeCurve:
        found.append((recipe, options))
        sizes = [
            Size(n / 1000, n, np.array([0.95 - 2 * n**-0.5]), np.full((1, DRAWS), 0.95 - 2 * n**-0.5))
            for n in (50, 100, 250, 500, 1000)
        ]
        report = curve_report(
            judge_curve(sizes, metric="accuracy", total_rows=1000), "accuracy", model="minilm", method="head",
            task="classify",
            rows=1000, held_out=200, held_out_is_test=True, points=[],
            stopped={"rule": "budget", "text": "Stopped.", "before_rows": 9}, seconds=1.0,
        )  # fmt: skip
        return FakeCurve(Path("curves/one"), report)

    module = types.ModuleType("luthier.learning_curve")
    module.curve = curve  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "luthier.learning_curve", module)
    monkeypatch.setattr(package, "learning_curve", module, raising=False)
    return found


def test_options_become_a_recipe_and_settings(luthier: Any, data_csv: Path, asked: Any) -> None:
    result = luthier(
        "curve", data_csv, "--task", "classify", "--method", "head", "--test", "test.csv", "--set", "train.epochs=2",
        "--budget", "10m", "--seeds", "2", "--worth", "0.02", "--out", "here", "--columns", "label=label",
    )  # fmt: skip
    assert result.code == 0
    ((recipe, options),) = asked
    assert (recipe.task, recipe.method.kind, recipe.data.test) == ("classify", "head", "test.csv")
    assert recipe.train.epochs == 2
    assert options["budget_seconds"] == 600
    assert (options["seeds"], options["worth"], options["out"], options["full"]) == (2, 0.02, "here", False)
    assert "Twice the rows (2,000) would bring accuracy from 0.887 to 0.905" in " ".join(result.out.split())
    assert "worth labelling" in result.out
    assert "Stopped." in result.out
    assert result.out.splitlines()[-1] == "curves/one"


def test_one_json_document(luthier: Any, data_csv: Path, asked: Any) -> None:
    result = luthier("curve", data_csv, "--json")
    value = json.loads(result.out)
    assert value["answer"] == "worth"
    assert value["folder"] == "curves/one"
    assert len(value["sizes"]) == 5


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), (" 2 min ", 120)]
)
def test_times(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0m", "ten", "5 days", "-3m", "1m30"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        seconds_of(text)
    assert caught.value.param == "budget"


def test_bad_words_are_wrong_usage(luthier: Any, data_csv: Path) -> None:
    assert luthier("curve").code == 2
    assert luthier("curve", data_csv, "--budget", "soon").code == 2
    assert "--seeds" in luthier("curve", data_csv, "--seed", "2").err
    assert luthier("curve", data_csv, "--seeds", "two").code == 2
