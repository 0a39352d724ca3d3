"""A search as a job: a real one with a tiny base, stopped and gone on with; its trials told; its best published."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from workshop import Workshop, labelled_rows

from luthier.core import durable
from luthier.core.errors import Interrupted
from luthier.core.events import Event
from luthier.jobs.artefacts import sha256_of
from luthier.jobs.errors import Conflict
from luthier.jobs.progress import Progress
from luthier.jobs.records import Job
from luthier.jobs.work import run_job
from luthier.jobs.worker_wire import Assignment, to_line
from luthier.searching.folder import SearchFolder

pytestmark = pytest.mark.usefixtures("toy_cache")


def recipe(model: Any, data: str, folder: Path | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "model": model, "task": "classify", "data": {"train": data, "validation": 0.3}, "method": "head",
        "train": {"epochs": 2, "learning_rate": {"search": [0.003, 0.01]}},
        "evaluate": {"baselines": ["majority"], "bootstrap": 100},
        "search": {"trials": 2, "pruner": "none", "repeat": 0},
    }  # fmt: skip
    return found if folder is None else {**found, "out": str(folder)}


class Kept:
    """What a supervisor answers, from a list that outlives the worker."""

    def __init__(self) -> None:
        self.entries: list[str] = []

    def __call__(self, kind: str, **values: Any) -> dict[str, Any]:
        assert kind == "journal"
        if "entries" not in values:
            return {"entries": self.entries[values["start"] : values["start"] + 3]}
        assert values["number"] == len(self.entries)
        self.entries.append(values["entries"])
        return {}


class Parts:
    """A listener that remembers, and may stop the worker at a part."""

    def __init__(self, stop_at: int = -1) -> None:
        self.events: list[Event] = []
        self._stop_at = stop_at

    def __call__(self, event: Event) -> None:
        to_line(event.to_dict())
        self.events.append(event)
        if event.kind == "progress" and event.data["done"] == self._stop_at and not event.data["again"]:
            raise Interrupted("stopped")

    def parts(self, *, again: bool = False) -> list[tuple[str, str]]:
        found = [event.data for event in self.events if event.kind == "progress" and event.data["again"] == again]
        return [(data["part"], data["about"]["state"]) for data in found]


def assigned(toy_base: Path, tmp_path: Path, folder: str = "run", **search: Any) -> Assignment:
    data = tmp_path / "rows.csv"
    data.write_bytes(labelled_rows(40))
    asked = recipe(str(toy_base), str(data), tmp_path)
    asked["search"] |= search
    return Assignment(
        "search-x", 1, asked, str(tmp_path / folder), str(tmp_path / "lock"), str(tmp_path / "scratch"),
        {str(data): sha256_of(data)}, kind="search",
    )  # fmt: skip


def reached(result: dict[str, Any]) -> list[Any]:
    """Of each trial what does not depend on the time."""
    report = json.loads((Path(result["folder"]) / "search.json").read_text())
    assert report["done"] is True
    return [(t["number"], t["params"], t["state"], t["value"], t["curve"]) for t in report["trials"]]


def test_a_search_goes_on_with_the_trials_that_it_has(toy_base: Path, tmp_path: Path) -> None:
    job, kept = assigned(toy_base, tmp_path), Kept()
    with pytest.raises(Interrupted):
        run_job(job, Parts(stop_at=1), kept)
    heard = Parts()
    result = run_job(job, heard, kept)
    assert heard.parts(again=True)[0] == ("0", "complete"), "a dead worker may not have told of it"
    assert {part for part, _ in heard.parts()} == {"1"}, "no trial is trained twice"
    assert [state for _, _, state, _, _ in reached(result)] == ["complete", "complete"]
    assert (Path(result["model"]) / "luthier.json").is_file()
    assert result["best"]["trial"] in (0, 1)
    assert result["metric"] == "accuracy"
    assert (result["steps"], result["task"], result["method"]) == (2, "classify", "head")
    assert not [event for event in heard.events if event.kind == "step"], "each trial counts its steps from one"
    assert run_job(job, Parts(), kept)["best"] == result["best"], "a search that is done is not done again"
    assert not SearchFolder(Path(job.run)).journal_file.exists()


def test_a_trial_that_worker_after_worker_died_of_has_failed(toy_base: Path, tmp_path: Path) -> None:
    job, kept = assigned(toy_base, tmp_path), Kept()
    with pytest.raises(Interrupted):
        run_job(job, Parts(stop_at=1), kept)
    heard = Parts()
    result = run_job(replace(job, attempts=2), heard, kept)
    assert [state for _, _, state, _, _ in reached(result)] == ["complete", "failed"]
    assert heard.parts() == [("1", "failed")], "which counts as news: the attempts are counted from the beginning"
    trials = json.loads((Path(result["folder"]) / "search.json").read_text())["trials"]
    assert trials[1]["code"] == "worker_died"
    assert trials[1]["error"].startswith("2 workers in a row ended while they trained it")


def test_another_machine_goes_on_without_the_folder(toy_base: Path, tmp_path: Path) -> None:
    whole = reached(run_job(assigned(toy_base, tmp_path, "whole"), Parts(), Kept()))
    job, kept = assigned(toy_base, tmp_path), Kept()
    with pytest.raises(Interrupted):
        run_job(job, Parts(stop_at=1), kept)
    durable.remove_tree(Path(job.run))
    heard = Parts()
    assert reached(run_job(job, heard, kept)) == whole
    assert {part for part, _ in heard.parts()} == {"1"}, "what was measured there is not trained again"


def test_a_job_of_an_older_version_goes_on_with_its_file(
    toy_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = reached(run_job(assigned(toy_base, tmp_path, "whole"), Parts(), Kept()))
    job = assigned(toy_base, tmp_path)
    folder = SearchFolder(Path(job.run))
    durable.make_folder(folder.path)
    with monkeypatch.context() as older:
        older.setattr("luthier.jobs.search_journal.StoredJournal", lambda ask: folder.journal())
        older.setattr("luthier.jobs.search_job.adopt", lambda path, journal: None)
        with pytest.raises(Interrupted):
            run_job(job, Parts(stop_at=1), Kept())
    assert folder.journal_file.is_file()
    heard, kept = Parts(), Kept()
    assert reached(run_job(job, heard, kept)) == whole
    assert heard.parts(again=True)[0] == ("0", "complete")
    assert {part for part, _ in heard.parts()} == {"1"}
    assert not folder.journal_file.exists()
    assert kept.entries


def test_what_a_worker_tells_of_a_part_is_an_event_without_paths() -> None:
    progress = Progress(lambda text: text.replace("/home/x/", ""))
    about = {"number": 0, "error": "bad \0 /home/x/rows.csv", "params": {"a": [1, "/home/x/y"]}}
    data = {"part": "0", "change": "failed:1", "about": about, "done": 1, "total": 4, "seconds_left": 60.0}
    progress.take({"kind": "progress", "message": "trial 0 failed", "level": "warn", "data": data})
    progress.take({"kind": "alive"})
    progress.take({"kind": "step", "data": {"step": 1}})
    [event] = progress.taken()
    assert (event.key, event.level) == ("part:0:failed:1", "warn")
    assert event.data["about"]["error"] == "bad \N{REPLACEMENT CHARACTER} rows.csv"
    assert event.data["about"]["params"] == {"a": [1, "y"]}
    assert (progress.step, progress.total_steps) == (1, 4)
    assert progress.estimated_finish is not None
    assert progress.taken() == []


@pytest.mark.slow  # three real workers: about 30 seconds
def test_a_search_is_killed_paused_and_published(toy_workshop: Workshop) -> None:
    file = toy_workshop.upload(labelled_rows(40), "films.csv")
    asked = recipe("toy", file.id) | {"search": {"trials": 3, "pruner": "none", "repeat": 0, "sampler": "random"}}
    asked["train"]["learning_rate"] = {"search": {"low": 1e-3, "high": 1e-2, "log": True}}
    job = toy_workshop.create(file, recipe=asked, kind="search", id="search-abc", method={}, suffix="films")
    toy_workshop.until(job, lambda found: found.step >= 1)
    os.kill(toy_workshop.worker(job), signal.SIGKILL)
    toy_workshop.until(job, lambda found: found.step >= 2 or found.terminal)
    with contextlib.suppress(Conflict):  # it was faster
        toy_workshop.store.jobs.pause(toy_workshop.project, job.id)
        toy_workshop.until_status(job, "paused", "succeeded")
        toy_workshop.store.jobs.resume(toy_workshop.project, job.id)
    done = toy_workshop.until_status(job, "succeeded")
    assert done.fine_tuned_model is not None
    assert done.fine_tuned_model.startswith("ft:toy:local:films:")
    assert (done.step, done.total_steps, done.task) == (3, 3, "classify")
    parts = toy_workshop.store.curves.parts(toy_workshop.project, job.id)
    assert [(part["number"], part["state"]) for part in parts] == [(n, "complete") for n in range(3)]
    folder = toy_workshop.artefacts.folder(done.result["folder"])
    report = json.loads((folder / "search.json").read_text())
    assert str(toy_workshop.home) not in (folder / "search.json").read_text() + (folder / "search.html").read_text()
    assert report["best"]["params"] == done.result["best"]["params"]
    assert report["metric"] == done.result["metric"]
    assert (toy_workshop.artefacts.folder(done.result["report"]) / "answers.jsonl").is_file()
    model = toy_workshop.store.models.get(toy_workshop.project, done.fine_tuned_model)
    assert (model.method, model.task, model.base_model) == ("head", "classify", "toy")
    assert (toy_workshop.artefacts.folder(model.artefact) / "luthier.json").is_file()
    toy_workshop.until_gone(toy_workshop.home / "work" / job.id)


def children_of(process: int) -> list[int]:
    """The search's own workers."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == process:
                found.append(int(path.parent.name))
    return found


def outcome(workshop: Workshop, job: Job) -> list[Any]:
    done = workshop.until_status(job, "succeeded")
    assert done.status == "succeeded", workshop.events(job)[-1]
    report = json.loads((workshop.artefacts.folder(done.result["folder"]) / "search.json").read_text())
    return [(t["number"], t["params"], t["state"], t["value"]) for t in report["trials"]]


def ask_for(workshop: Workshop, id: str, workers: int) -> Job:
    file = workshop.upload(labelled_rows(40), "films.csv")
    settings = {"trials": 6, "pruner": "none", "repeat": 0, "sampler": "random", "workers": workers}
    asked = recipe("toy", file.id) | {"search": settings}
    asked["train"] = {"epochs": 12, "learning_rate": {"search": {"low": 1e-3, "high": 1e-2, "log": True}}}
    return workshop.create(file, recipe=asked, kind="search", id=id, method={}, suffix="films")


@pytest.mark.slow  # two searches with two workers, killed at each of their processes: about a minute
def test_two_workers_share_the_journal_in_the_store(toy_workshop: Workshop) -> None:
    whole = outcome(toy_workshop, ask_for(toy_workshop, "search-whole", 1))
    job = ask_for(toy_workshop, "search-two", 2)
    toy_workshop.until(job, lambda found: found.step >= 1)
    first = toy_workshop.worker(job)
    journal = toy_workshop.home / "work" / job.id / "run" / "journal.jsonl"
    own = children_of(first)
    assert len(own) == 2, "two workers of its own"
    for child in own:
        os.kill(child, signal.SIGKILL)  # both at once: two others take their trials up
    toy_workshop.until(job, lambda found: len(set(children_of(first)) - set(own)) == 2 or found.terminal)
    assert toy_workshop.worker(job) == first, "the job itself goes on"
    toy_workshop.until(job, lambda found: found.step >= 3 or found.terminal)
    with contextlib.suppress(ProcessLookupError):
        os.kill(first, signal.SIGKILL)  # all of it: the next worker of the job goes on
    found = outcome(toy_workshop, job)
    told = [event.message for event in toy_workshop.events(job) if "it is started again" in event.message]
    assert len(told) == 2
    assert all("was killed by signal 9 (perhaps out of memory)" in text for text in told)
    assert not journal.exists()
    assert sorted(map(repr, found)) == sorted(map(repr, whole))


@pytest.mark.slow  # two servers on one PostgreSQL: about a minute
def test_a_server_that_is_gone_leaves_its_search_to_another(
    postgres_url: str, tmp_path: Path, toy_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = {"database": postgres_url, "artefacts": tmp_path / "shared", "lease": 3.0}
    for name in ("one", "two"):
        (tmp_path / name / "models").mkdir(parents=True)
        (tmp_path / name / "models" / "toy").symlink_to(toy_base)
    one = Workshop(tmp_path / "one", **shared)
    try:
        whole = outcome(one, ask_for(one, "search-whole", 1))
        job = ask_for(one, "search-moved", 1)
        one.until(job, lambda found: found.step >= 2)
        worker = one.worker(job)
    finally:  # as if the machine were gone: nobody renews the lease or gives the job back
        monkeypatch.setattr(one.queue, "heartbeat", lambda claim: None)
        monkeypatch.setattr(one.queue, "release", lambda *words: None)
        with contextlib.suppress(UnboundLocalError, ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
        one.close()
    two = Workshop(tmp_path / "two", **shared)
    try:
        assert outcome(two, job) == whole
        told = [event.message for event in two.events(job) if event.key.startswith("part:0:")]
        assert told, "trial 0 was trained on the first machine"
        assert not (tmp_path / "two" / "work" / job.id / "run" / "trials" / "0000").exists()
    finally:
        two.close()
