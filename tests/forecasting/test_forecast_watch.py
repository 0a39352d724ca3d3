"""A run tells how long it will take, and keeps predicted and actual."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from journey import Journey

import luthier
from luthier.core import durable_files
from luthier.core.errors import Interrupted, StorageError
from luthier.core.events import Event
from luthier.core.rundir import read_jsonl
from luthier.search import ledger


def told(path: Path) -> list[dict[str, Any]]:
    return [event for event in read_jsonl(path / "events.jsonl") if event["kind"] == "forecast"]


def test_a_run_tells_before_its_first_step_and_writes_what_it_was(journey: Journey, book: Path) -> None:
    heard: list[Event] = []
    run = journey.train(listener=heard.append)
    kinds = [event.kind for event in heard]
    assert kinds.index("forecast") < kinds.index("step")
    assert len(told(run.path)) == 1, "a short run is told once"
    section = json.loads((run.path / "report.json").read_text())["forecast"]
    assert section == run.report["forecast"]
    assert section["predicted"]["seconds"]["low"] < section["predicted"]["seconds"]["value"]
    assert section["actual"]["seconds"] == pytest.approx(run.seconds, abs=0.5)
    assert sum(section["stages"].values()) == pytest.approx(section["actual"]["seconds"], abs=0.05)
    assert {"setup", "gates", "steps", "validation", "saving", "judging", "majority"} <= set(section["stages"])
    (line,) = ledger.read()
    assert line.actual["seconds"] == section["actual"]["seconds"]
    assert line.whole
    assert line.workload["epochs"] == 2
    assert line.formula["steps"] > 0


def test_the_ledger_holds_no_data_and_no_path(journey: Journey, book: Path) -> None:
    run = journey.train()
    text = book.read_text()
    assert str(journey.folder) not in text
    assert str(journey.base) not in text
    assert run.path.name not in text
    assert json.loads(text)["model"].startswith("other-")
    assert len(text) < 4000


def test_a_longer_run_is_told_once_more(journey: Journey) -> None:
    run = journey.train(train__epochs=6)
    first, second = told(run.path)
    assert first["message"].startswith("Forecast: ")
    assert second["message"].startswith("After 20 steps: ")
    assert run.report["forecast"]["refined"]["basis"] == "first_steps"
    assert ledger.read()[0].extra["first_steps"]["seconds"]["value"] > 0


def test_earlier_runs_narrow_the_next_forecast(journey: Journey) -> None:
    for _ in range(3):
        last = journey.train(evaluate__baselines=[]).report["forecast"]["predicted"]["seconds"]
    first = ledger.read()[0].predicted["seconds"]
    assert last["high"] / last["value"] < first["high"] / first["value"]


def test_a_run_that_goes_on_is_no_evidence_of_a_whole_one(journey: Journey) -> None:
    run = journey.train(train__epochs=1)
    resumed = luthier.resume(run.path, overrides=["train.epochs=3"])
    section = resumed.report["forecast"]
    assert section["resumed"]
    whole, part = ledger.read()
    assert whole.whole
    assert not part.whole
    assert part.workload["epochs"] == 2, "what was left to do"
    assert ledger.accuracy(ledger.read())["runs"] == 1


def test_a_run_that_was_stopped_writes_no_line(journey: Journey) -> None:
    def stop(event: Event) -> None:
        if event.kind == "step" and event.data["step"] == 3:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        journey.train(listener=stop)
    assert ledger.read() == []


def test_patience_that_ends_a_run_counts_the_epochs_it_did(journey: Journey) -> None:
    run = journey.train(train__epochs=12, train__patience=1, train__learning_rate=1e-9)
    done = run.report["cost"]["epochs"]
    assert done < 12
    line = ledger.read()[0]
    assert line.workload["epochs"] == done
    assert line.extra["early"]
    assert line.predicted["seconds"]["low"] < line.predicted["seconds"]["value"] / 2  # patience may end it early


def test_a_broken_ledger_stops_no_run(journey: Journey, book: Path) -> None:
    book.parent.mkdir(parents=True)
    book.write_bytes(b"\x00\xff{]\n" * 50)
    assert journey.train().report["forecast"]["actual"]["seconds"] > 0
    assert len(ledger.read()) == 1


def test_a_ledger_that_cannot_be_written_is_told_and_stops_no_run(
    journey: Journey, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise StorageError("the disk is full.")

    monkeypatch.setattr(durable_files, "append_line", refuse)
    heard: list[Event] = []
    run = journey.train(listener=heard.append)
    assert run.report["forecast"]["actual"]["seconds"] > 0
    assert any("ledger was not written" in event.message for event in heard)


def test_a_wrong_price_table_stops_no_run(journey: Journey, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LUTHIER_PRICES", str(tmp_path / "none.yaml"))
    assert journey.train().metrics
