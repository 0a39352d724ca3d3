"""The ledger of forecasts: what it keeps, what it passes over, and what it says of our accuracy."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest
from forecast_making import entry

from luthier.core.errors import StorageError
from luthier.search import ledger


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "ledger.jsonl"
    ledger.append(entry(), path)
    ledger.append(entry(model="luthier-nano"), path)
    assert [found.model for found in ledger.read(path)] == ["minilm", "luthier-nano"]
    assert ledger.read(path)[0] == entry()


def test_no_ledger_is_an_empty_one(tmp_path: Path) -> None:
    assert ledger.read(tmp_path / "none.jsonl") == []
    assert ledger.read(tmp_path) == []


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "null",
        '{"format": 99}',
        '{"format": 1}',
        "[" * 20_000,
        "x" * 200_000,
        json.dumps({**entry().to_dict(), "stages": {"steps": "soon"}}),
        json.dumps({**entry().to_dict(), "stages": {"steps": -1.0}}),
        json.dumps({**entry().to_dict(), "actual": {}}),
        json.dumps({**entry().to_dict(), "workload": 3}),
        json.dumps(entry().to_dict()).replace("22.0", "Infinity"),
        json.dumps(entry().to_dict())[:-20],
    ],
)
def test_broken_lines_are_passed_over(tmp_path: Path, line: str) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger.append(entry(model="before"), path)
    with path.open("a") as handle:
        handle.write(line + "\n")
    ledger.append(entry(model="after"), path)
    assert [found.model for found in ledger.read(path)] == ["before", "after"]


def test_bytes_that_are_no_text_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b"\xff\xfe\x00\n" + json.dumps(entry().to_dict()).encode() + b"\n")
    assert len(ledger.read(path)) == 1


def test_half_a_line_of_a_crash_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text(json.dumps(entry().to_dict())[:100])
    ledger.append(entry(), path)
    assert ledger.read(path) == [entry()]


def test_it_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MOST_BYTES", 8_000)
    path = tmp_path / "ledger.jsonl"
    for number in range(40):
        ledger.append(entry(model=f"m{number}"), path)
        assert path.stat().st_size <= 8_000
    names = [found.model for found in ledger.read(path)]
    assert names[-1] == "m39"
    assert names == [f"m{number}" for number in range(40 - len(names), 40)]


def _add(path: str) -> None:
    for _ in range(25):
        ledger.append(entry(), Path(path))


def test_several_processes_write_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_add, args=(str(path),)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len(ledger.read(path)) == len(path.read_text().splitlines()) == 100


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        ledger.append(entry(), tmp_path / "file" / "ledger.jsonl")


def test_a_machine_that_is_half_as_fast_corrects_the_formula() -> None:
    runs = [entry() for _ in range(6)]
    factor, evidence = ledger.correction(runs, "cpu-2x1-aaaaaa", "minilm", "lora", "classify", "steps")
    assert 1.8 < factor <= 2.0
    assert evidence > 1
    assert ledger.correction(runs, "another", "minilm", "lora", "classify", "steps") == (1.0, 0.0)
    one, _ = ledger.correction(runs[:1], "cpu-2x1-aaaaaa", "minilm", "lora", "classify", "steps")
    assert 1.0 < one < factor, "one run says less than six"


def test_one_odd_run_does_not_move_the_correction() -> None:
    odd = entry(stages={"steps": 900.0})
    factor, _ = ledger.correction([entry()] * 5 + [odd], "cpu-2x1-aaaaaa", "minilm", "lora", "classify", "steps")
    assert factor < 2.2


def test_accuracy_is_that_of_a_hand_count() -> None:
    wide = {"seconds": {"value": 11.0, "low": 5.0, "high": 40.0}, "peak_memory_bytes": {}, "basis": "formula"}
    runs = [entry(), entry(actual={"seconds": 40.0, "peak_memory_bytes": None}),
            entry(actual={"seconds": 25.0, "peak_memory_bytes": 2_000_000_000}, extra={"formula": wide}),
            entry(whole=False, actual={"seconds": 1.0, "peak_memory_bytes": 1})]  # fmt: skip
    report = ledger.accuracy(runs)
    assert (report["runs"], report["all_runs"]) == (3, 4)
    seconds = report["by_basis"]["probe"]["seconds"]
    assert seconds["runs"] == 3
    assert seconds["median_error"] == pytest.approx(5 / 25)
    assert seconds["within"] == pytest.approx(2 / 3)
    assert report["by_basis"]["probe"]["peak_memory_bytes"]["runs"] == 2
    formula = report["by_basis"]["formula"]["seconds"]
    assert formula == {"runs": 1, "median_error": pytest.approx(14 / 25), "within": 1.0}


def test_a_forecast_is_remembered_for_its_run(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger.append(entry(), path)
    ledger.remember("abc", "m1", {"tokens": 7}, path)
    ledger.remember("abc", "m1", {"tokens": 8}, path)
    found = ledger.recall("abc", "m1", path)
    assert found is not None
    assert found["tokens"] == 8
    assert ledger.recall("abc", "m2", path) is None
    assert ledger.recall("abd", "m1", path) is None
    assert ledger.read(path) == [entry()]


def test_it_lies_where_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_LEDGER", "/a/b.jsonl")
    assert ledger.ledger_file() == Path("/a/b.jsonl")
    monkeypatch.delenv("LUTHIER_LEDGER")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert ledger.ledger_file() == Path("/data/luthier/forecasts.jsonl")
