"""A search as a job: a real one with a tiny base, stopped and gone on with; its trials told; its best published."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from workshop import Workshop, labelled_rows

from luthier.core.errors import Interrupted
from luthier.core.events import Event
from luthier.jobs.artefacts import sha256_of
from luthier.jobs.errors import Conflict
from luthier.jobs.progress import Progress
from luthier.jobs.work import run_job
from luthier.jobs.worker_wire import Assignment, to_line

pytestmark = pytest.mark.usefixtures("toy_cache")


def recipe(model: Any, data: str, folder: Path | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "model": model, "task": "classify", "data": {"train": data, "validation": 0.3}, "method": "head",
        "train": {"epochs": 2, "learning_rate": {"search": [0.003, 0.01]}},
        "evaluate": {"baselines": ["majority"], "bootstrap": 100},
        "search": {"trials": 2, "pruner": "none", "repeat": 0},
    }  # fmt: skip
    return found if folder is None else {**found, "out": str(folder)}


class Parts:
    """A listener that remembers, and may stop the worker at a part."""

    def __init__(self, stop_at: int = 0) -> None:
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


def test_a_search_goes_on_with_the_trials_that_it_has(toy_base: Path, tmp_path: Path) -> None:
    data = tmp_path / "rows.csv"
    data.write_bytes(labelled_rows(40))
    job = Assignment(
        "search-x", 1, recipe(str(toy_base), str(data), tmp_path), str(tmp_path / "run"), str(tmp_path / "lock"),
        str(tmp_path / "scratch"), {str(data): sha256_of(data)}, kind="search",
    )  # fmt: skip
    with pytest.raises(Interrupted):
        run_job(job, Parts(stop_at=1))
    heard = Parts()
    result = run_job(job, heard)
    assert heard.parts(again=True)[0] == ("0", "complete"), "a dead worker may not have told of it"
    assert {part for part, _ in heard.parts()} == {"1"}, "no trial is trained twice"
    report = json.loads((Path(result["folder"]) / "search.json").read_text())
    assert report["done"] is True
    assert [trial["state"] for trial in report["trials"]] == ["complete", "complete"]
    assert (Path(result["model"]) / "luthier.json").is_file()
    assert result["best"]["trial"] in (0, 1)
    assert (result["steps"], result["task"], result["method"]) == (2, "classify", "head")
    assert not [event for event in heard.events if event.kind == "step"], "each trial counts its steps from one"
    assert run_job(job, Parts())["best"] == result["best"], "a search that is done is not done again"


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
    assert (toy_workshop.artefacts.folder(done.result["report"]) / "answers.jsonl").is_file()
    model = toy_workshop.store.models.get(toy_workshop.project, done.fine_tuned_model)
    assert (model.method, model.task, model.base_model) == ("head", "classify", "toy")
    assert (toy_workshop.artefacts.folder(model.artefact) / "luthier.json").is_file()
    toy_workshop.until_gone(toy_workshop.home / "work" / job.id)
