"""The benchmark of searches: what it reckons, that both sides train the same, and that it runs at toy size."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPO))
    monkeypatch.syspath_prepend(str(REPO / "tests" / "train"))


def _run(side: str, wall: float, told: list[tuple[float, int, int, float, float]], **more: Any) -> dict[str, Any]:
    keys = ("t", "trial", "epoch", "value", "loss")
    return {
        "size": "full", "side": side, "pruner": "halving" if side != "search" else "", "round": 0, "wall": wall,
        "trials": 2, "peak": 2**30, "evaluations": [dict(zip(keys, entry, strict=True)) for entry in told], **more,
    }  # fmt: skip


def _rows(path: str) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_the_split_holds_no_label_that_train_has_not(tmp_path: Path) -> None:
    from benchmarks.search_speed import write_split

    found = write_split(tmp_path, 60, 30)
    parts = {name: _rows(path) for name, path in found.items()}
    assert len(parts["train"]) == 60
    assert 0 < len(parts["validation"]) <= 30
    assert {row["label"] for row in parts["validation"]} <= {row["label"] for row in parts["train"]}
    assert not {row["text"] for row in parts["validation"]} & {row["text"] for row in parts["train"]}


def test_ratios_are_of_pairs_and_to_the_score_that_both_reach() -> None:
    from benchmarks.search_speed import table, time_to

    ours = _run("search", 20.0, [(5.0, 0, 1, 0.5, 1.0), (8.0, 1, 1, 0.7, 0.9)], besides=0.1, shared=1.5, cpu=10.0)
    theirs = _run("trainer", 80.0, [(30.0, 0, 1, 0.6, 1.1), (40.0, 1, 1, 0.8, 0.8)], cpu=25.0)
    same = _run("plain", 20.0, [(6.0, 0, 1, 0.6, 1.1001), (9.0, 1, 1, 0.8, 0.8)], besides=0.04, shared=1.0)
    assert time_to(theirs, 0.7) == 40.0
    lines = table([ours, theirs, same], "full").splitlines()
    assert "| **4.00** (one pair) | **2.50** (one pair) | **5.00** (one pair) | 3 | 20 / 80 | 8 / 40 |" in lines[2]
    assert "| other trials | 50 | 1.5 |" in lines[2]
    assert "| **4.00** (one pair) | - | **4.44** (one pair) |" in lines[3]
    assert "| 5e-05 / 1e-04 | 20 | 1.0 |" in lines[3]
    assert table([ours], "full").count("\n") == 2, "a run without its pair is no line"


@pytest.mark.filterwarnings("ignore")  # the peer's own
def test_both_sides_train_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base of three narrow layers instead of MiniLM's six: one frozen, so that a cache is in play."""
    from toy import rows, save_toy_base

    base = save_toy_base(tmp_path / "base")
    job: dict[str, Any] = {"model": str(base), "frozen": 1, "epochs": 2, "batch": 8, "trials": 3, "seed": 0,
                           "pruner": "halving", "threads": 1}  # fmt: skip
    for name, count, seed in (("train", 24, 0), ("validation", 16, 1)):
        job[name] = str(tmp_path / f"{name}.csv")
        with open(job[name], "w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, ["text", "label"])
            writer.writeheader()
            writer.writerows(rows("classify", count, seed))
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))
    from benchmarks.search_worker import Watch, plain, trainer

    found = {}
    for side, run in (("plain", plain), ("trainer", trainer)):
        watch = Watch(time.time())
        found[side] = run(job, str(tmp_path / side), watch) | {"evaluations": watch.evaluations}
    from benchmarks.search_speed import loss_differences

    differences = loss_differences(found["plain"], found["trainer"])
    assert differences, "the same trials, cut at the same epochs"
    assert max(differences) < 1e-5
    values = [[entry["value"] for entry in run["evaluations"]] for run in found.values()]
    assert values[0] == values[1]
    assert found["plain"]["trials"] == 3
    assert 0 < found["plain"]["besides"] < found["plain"]["wall"]


@pytest.mark.slow
def test_the_search_bench_runs_at_toy_size(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    command = [sys.executable, "-m", "benchmarks.search_speed", "--toy", "--threads", "1", "--results", str(results)]
    environment = {**os.environ, "PYTHONPATH": f"{REPO / 'src'}:{REPO}"}
    first = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=True)
    assert "`luthier search`" in first.stdout
    assert len(results.read_text().splitlines()) == 3
    again = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=True)
    assert again.stdout == first.stdout, "what is there is not run again"
