"""`luthier forecast` as a person types it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "search"))
from forecast_making import entry

from luthier.search import ledger


@pytest.fixture(autouse=True)
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "ledger.jsonl"
    monkeypatch.setenv("LUTHIER_LEDGER", str(path))
    return path


def test_the_instant_answer_is_shown(luthier: Any, data_csv: Path) -> None:
    result = luthier("forecast", "--data", str(data_csv), "--no-probe", "--price-per-hour", "0.5", "--watts", "60")
    assert result.code == 0, result.err
    for word in ("time", "peak memory", "cost", "energy", "elsewhere", "a guess"):
        assert word in result.out


def test_json_has_the_promised_keys(luthier: Any, data_csv: Path) -> None:
    result = luthier("forecast", "--data", str(data_csv), "--no-probe", "--json", "--set", "train.epochs=7")
    assert result.code == 0, result.err
    plain = json.loads(result.out)
    assert plain["seconds"]["low"] < plain["seconds"]["value"] < plain["seconds"]["high"]
    assert set(plain["peak_memory_bytes"]) == {"value", "low", "high"}
    assert plain["cost"]["value"] is None
    assert plain["epochs"] == 7
    assert plain["basis"] == "formula"


def test_a_recipe_file_is_taken(luthier: Any, data_csv: Path, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(f"data: {data_csv}\nmethod: lora\n")
    plain = json.loads(luthier("forecast", str(file), "--no-probe", "--json").out)
    assert plain["method"] == "lora"


def test_accuracy_begins_with_nothing_and_counts_runs(luthier: Any, book: Path) -> None:
    assert "nothing is known" in luthier("forecast", "--accuracy").out
    for _ in range(3):
        ledger.append(entry())
    shown = luthier("forecast", "--accuracy").out
    assert "9.1%" in shown, "22 seconds, 20 foretold"
    assert "100%" in shown
    plain = json.loads(luthier("forecast", "--accuracy", "--json").out)
    assert plain["runs"] == 3
    assert plain["ledger"] == str(book)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ([], 2, "nothing to learn from"),
        (["none.yaml"], 2, "none.yaml"),
        (["--data", "none.csv", "--no-probe"], 1, "none.csv"),
        (["--accuracy", "--data", "x.csv"], 2, "--accuracy"),
        (["--data", "DATA", "--no-probe", "--price-per-hour", "-3"], 2, "price_per_hour"),
        (["--data", "DATA", "--no-probe", "--watts", "nan"], 2, "watts"),
        (["--data", "DATA", "--no-probe", "--price-per-hour", "cheap"], 2, "price-per-hour"),
        (["--data", "DATA", "--no-probe", "--prices", "none.yaml"], 2, "none.yaml"),
        (["--data", "DATA", "--no-probe", "--set", "train.epoch=3"], 2, "epochs"),
        (["--data", "DATA", "--no-probe", "--model", "nothing"], 1, "nothing"),
        (["--data", "DATA", "--prob"], 2, "--no-probe"),
    ],
)
def test_bad_input_is_told(luthier: Any, data_csv: Path, words: list[str], code: int, says: str) -> None:
    result = luthier("forecast", *(str(data_csv) if word == "DATA" else word for word in words))
    assert result.code == code
    assert says in result.err
    assert "Traceback" not in result.err
