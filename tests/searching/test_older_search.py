"""A search that an older version began goes on, and ends as it would have; `workers: auto` is settled once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_bench import FakeBench
from toy import rows, save_toy_base, write

import luthier
from luthier.core.errors import Interrupted
from luthier.core.events import Event
from luthier.searching import workbench

RATE = {"search": {"low": 1e-3, "high": 1e-1, "log": True}}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("older")
    return {
        "model": str(save_toy_base(folder)), "task": "classify", "method": {"kind": "lora", "rank": 4},
        "data": {"train": str(write(folder / "train.jsonl", rows("classify", 48))), "validation": 0.25},
        "train": {"epochs": 3, "batch_size": 8, "learning_rate": RATE, "patience": 0},
        "evaluate": {"bootstrap": 100, "baselines": ["majority"]},
    }  # fmt: skip


def outcome(found: luthier.searching.Found) -> Any:
    trials = [(t["number"], t["params"], t["state"], t["value"], t["curve"]) for t in found.trials]
    assert found.best is not None
    return trials, found.best["params"], found.best["metrics"]


class Stop:
    """Stops the search while it trains a trial that was begun before."""

    def __init__(self) -> None:
        self.known: set[int] = set()

    def __call__(self, event: Event) -> None:
        if event.kind == "trial" and event.data["state"] == "running" and event.data["epoch"]:
            raise Interrupted("stopped")


def forget(path: Path, *keys: tuple[str, ...]) -> None:
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    for *parents, last in keys:
        node = values
        for parent in parents:
            node = node[parent]
        node.pop(last, None)
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


def test_a_folder_without_younger_keys_goes_on_to_the_same_end(toy: dict[str, Any], tmp_path: Path) -> None:
    options: dict[str, Any] = {"trials": 4, "repeat": 1, "out": tmp_path}
    whole = luthier.search(toy, **options)
    with pytest.raises(Interrupted) as caught:
        luthier.search(toy, listener=Stop(), **options)
    folder = Path(caught.value.where)
    begun = sorted(folder.glob("trials/*/recipe.yaml"))
    assert begun
    for path in begun:
        forget(path, ("train", "average"), ("train", "l2_sp"), ("method", "dora"), ("head", "fit"), ("freeze",))
    forget(folder / "search.yaml", ("search", "reduction"), ("search", "workers"), ("search", "objectives"))
    journal = folder / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        for entry in line["entries"]:
            record = entry.get("user_attr", {}).get("trial")
            if record:
                for name in ("forgetting", "stopped_early", "bracket"):
                    del record[name]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert outcome(luthier.search(resume=folder)) == outcome(whole)


@pytest.mark.parametrize(("cores", "trials", "used"), [(1, 9, 1), (4, 9, 4), (64, 2, 2)])
def test_auto_is_settled_and_said(
    place: Any, monkeypatch: pytest.MonkeyPatch, cores: int, trials: int, used: int
) -> None:
    monkeypatch.setattr(workbench, "default_workers", lambda: cores)
    started: list[int] = []

    def run_workers(folder: Any, number: int, *rest: Any) -> None:
        started.append(number)
        raise Interrupted("stopped")

    monkeypatch.setattr("luthier.searching.run.run_workers", run_workers)
    if used == 1:
        folder = place.search(trials=trials, workers="auto").path
    else:
        with pytest.raises(Interrupted) as caught:
            place.search(trials=trials, workers="auto")
        folder = Path(caught.value.where)
        assert started == [used]
    assert yaml.safe_load((folder / "search.yaml").read_text())["search"]["workers"] == used
    said = [event.message for event in place.events if event.message.startswith("workers: ")]
    assert len(said) == 1
    assert said[0].startswith(f"workers: {used}, ")
    assert said[0].endswith("(auto).")
    if used == 1:
        place.events.clear()
        place.search(FakeBench(noise=0.003), resume=folder)
        assert not [event for event in place.events if event.message.startswith("workers: ")], "it is a number now"
