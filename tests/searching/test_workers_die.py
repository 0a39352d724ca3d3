"""Workers that die are started again, their trials go on from where they were, and a trial that kills has failed."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fake_bench import FakeBench

from luthier.core.errors import Interrupted, TrainingError
from luthier.searching import workers
from luthier.searching.asked import asked
from luthier.searching.folder import SearchFolder


@pytest.fixture(autouse=True)
def program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that learn a formula."""
    here = Path(__file__).parent
    monkeypatch.setattr(workers, "PROGRAM", (sys.executable, str(here / "crew_program.py")))
    monkeypatch.setattr(workers, "_LOOK_SECONDS", 0.05)


def begun(place: Any, plan: dict[str, int] | None = None, **settings: Any) -> Path:
    """The folder of a search for two workers, in which `plan` happens."""
    values, _, found = asked(place.recipe(), {}, {"trials": 9, "repeat": 0, "workers": 2, **settings})
    folder = SearchFolder.create(place.folder / "searches", "train", values, found).path
    (folder / "deadly.json").write_text(json.dumps(plan or {}), encoding="utf-8")
    return folder


def warnings(place: Any) -> list[str]:
    return [event.message for event in place.events if event.kind == "message" and event.level == "warn"]


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


class Killer(threading.Thread):
    """Sends a signal to all workers at once when so many epochs are trained."""

    def __init__(self, folder: Path, epochs: int, number: int) -> None:
        super().__init__()
        self.folder, self.epochs, self.number = folder, epochs, number
        self.killed: list[int] = []

    def run(self) -> None:
        until = time.monotonic() + 60
        while len(lines(self.folder / "epochs.log")) < self.epochs and time.monotonic() < until:
            time.sleep(0.005)
        self.killed = [int(pid) for pid in lines(self.folder / "pids.log")]
        for pid in self.killed:
            os.kill(pid, self.number)


def test_all_workers_killed_at_once_are_started_again(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPOCH_SECONDS", "0.1")
    folder = begun(place)
    killer = Killer(folder, 4, signal.SIGKILL)
    killer.start()
    found = place.search(resume=folder)
    killer.join()
    assert len(killer.killed) == 2
    assert {trial["state"] for trial in found.trials} == {"complete", "pruned"}
    assert len(found.trials) == 9
    assert len(lines(folder / "pids.log")) == 4
    told = warnings(place)
    assert len(told) == 2
    assert all("was killed by signal 9 (perhaps out of memory)" in text for text in told)
    assert all(text.endswith("it is started again.") for text in told)
    again = Counter(lines(folder / "epochs.log"))
    assert sum(count - 1 for count in again.values()) <= 2, "only what no checkpoint held is trained twice"
    reached = {f"{trial['number']:04d}": trial["epoch"] for trial in found.trials}
    assert len(again) == sum(reached.values())


def test_a_trial_that_kills_its_worker_twice_has_failed(place: Any) -> None:
    folder = begun(place, {"0001": 9})
    found = place.search(resume=folder)
    failed = [trial for trial in found.trials if trial["state"] == "failed"]
    assert [(trial["number"], trial["code"]) for trial in failed] == [(1, "worker_died")]
    assert failed[0]["error"] == (
        "2 workers ended while they trained it: the last one was killed by signal 9 (perhaps out of memory)."
    )
    assert len(found.trials) == 9
    assert json.loads((folder / "deadly.json").read_text()) == {"0001": 7}
    first, second = warnings(place)
    assert "while it trained trial 1; it is started again." in first
    assert "the search goes on with 1 worker." in second, "memory may be too small for two"


def test_when_nothing_can_go_on_it_ends_and_can_be_gone_on_with(place: Any) -> None:
    folder = begun(place, {f"{number:04d}": 9 for number in range(9)})
    with pytest.raises(TrainingError) as caught:
        place.search(resume=folder)
    assert caught.value.code == "workers_died"
    assert "the last one was killed by signal 9" in str(caught.value)
    assert f"--resume {folder}" in caught.value.remedy
    so_far = json.loads((folder / "search.json").read_text(encoding="utf-8"))
    assert not so_far["done"]
    assert so_far["counts"].get("failed", 0) >= 2
    (folder / "deadly.json").unlink()
    found = place.search(resume=folder)
    assert len(found.trials) == 9
    assert found.best is not None


def test_workers_that_die_before_any_trial_are_not_started_for_ever(place: Any) -> None:
    folder = begun(place, {"start": 99})
    with pytest.raises(TrainingError) as caught:
        place.search(resume=folder)
    assert caught.value.code == "workers_died"
    most = workers.MOST_DEATHS * 2
    assert most <= len(lines(folder / "pids.log")) <= most + 1
    (folder / "deadly.json").unlink()
    assert place.search(resume=folder).best is not None


def test_an_error_that_is_named_is_not_tried_again(place: Any) -> None:
    folder = begun(place, {"says": 9})
    with pytest.raises(TrainingError, match="the rows are gone") as caught:
        place.search(resume=folder)
    assert caught.value.code == "workers_failed"
    assert len(lines(folder / "pids.log")) == 2


def test_an_error_that_nobody_foresaw_is_told_by_its_kind(place: Any) -> None:
    found = place.search(resume=begun(place, {"slip": 1}))
    assert len(found.trials) == 9
    [told] = warnings(place)
    assert "met an unforeseen error, RuntimeError" in told
    assert "private" not in told
    assert "private" in next((found.path / "locks").glob("worker-*-0.log")).read_text() + "".join(
        path.read_text() for path in (found.path / "locks").glob("worker-*-1.log")
    )


def test_workers_that_were_asked_to_stop_leave_a_search_that_goes_on(
    place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPOCH_SECONDS", "0.1")
    folder = begun(place)
    killer = Killer(folder, 4, signal.SIGTERM)
    killer.start()
    with pytest.raises(Interrupted):
        place.search(resume=folder)
    killer.join()
    assert len(lines(folder / "pids.log")) == 2
    assert {trial["state"] for trial in place.search(resume=folder).trials} == {"complete", "pruned"}


@pytest.mark.parametrize("number", [1, 2])
def test_where_no_trial_is_left_nobody_is_started(place: Any, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    whole = place.search(FakeBench(noise=0.003), trials=5, repeat=0)

    def started(*words: Any, **more: Any) -> None:
        raise AssertionError("nothing is left to do")

    monkeypatch.setattr("luthier.searching.run.run_workers", started)
    monkeypatch.setattr("luthier.searching.run.Worker", started)
    again = place.search(resume=whole.path, workers=number)
    assert [trial["value"] for trial in again.trials] == [trial["value"] for trial in whole.trials]
    assert again.report["done"]


def test_nobody_waits_for_a_trial_that_was_left_when_the_time_is_over(place: Any) -> None:
    """It was killed in its last second: nobody has the time to take the trial up, or to wait for it."""
    folder = begun(place, {"0003": 1}, workers=1)
    search = SearchFolder(folder)
    from killed_search import SlowBench

    from luthier.core import durable
    from luthier.search.study import Study
    from luthier.searching.clockwork import Clockwork
    from luthier.searching.worker import Worker

    space, settings = search.asked()
    study = Study(search.journal(), space, settings)
    bench = SlowBench(folder / "epochs.log", 0.0)
    real = FakeBench.open

    class Killed(Exception):
        pass

    def killed(self: FakeBench, recipe: Any, path: Path) -> Any:
        if path.name == "0003":
            raise Killed
        return real(self, recipe, path)

    claims = search.claims()
    bench.open = killed.__get__(bench)  # type: ignore[method-assign]
    with pytest.raises(Killed):
        Worker(bench, study, search, claims, Clockwork(None)).run()
    claims.release_all()
    search.change(settings.build({**settings.model_dump(), "budget": "60s"}, where="here"))
    durable.write_json(folder / "time.json", {"seconds": 60.0})
    found = place.search(resume=folder)
    assert [trial["state"] for trial in found.trials][3] == "running"
    assert found.best is not None
