"""An automatic run as a job: killed and gone on with by a clock of its own, and real workers, killed and cancelled."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from workshop import Workshop, labelled_rows

from luthier.core import clock, durable
from luthier.core.errors import DataError, Interrupted, UsageError
from luthier.core.events import Event
from luthier.jobs import work
from luthier.jobs.artefacts import sha256_of
from luthier.jobs.progress import Progress
from luthier.jobs.publishing_parts import publish_stopped
from luthier.jobs.records import Job
from luthier.jobs.worker_wire import Ask, Assignment, to_line
from luthier.jobs.workplace import Workplace
from luthier.models.run_model import model_folder

sys.path.insert(0, str(Path(__file__).parents[1] / "automatic"))  # the bench with a clock of its own
from clocked import Clocked, PowerCut

pytestmark = pytest.mark.usefixtures("toy_cache")
GOOD = {"head": 0.6, "full": 0.8, "lora": 0.9, "pairs full": 0.7}


def recipe(data: str, budget: float, model: str | None = "minilm", **how: Any) -> dict[str, Any]:
    return {
        "task": "classify", "model": model, "data": {"train": data, "columns": {}},
        "auto": {"budget": budget, "seed": 0, "overrides": [], **how},
    }  # fmt: skip


def taken(kind: str, **values: Any) -> dict[str, Any]:
    """A supervisor that takes each best model, and cannot tell yet how long publishing one takes."""
    assert (kind, values) == ("best", {})
    return {"seconds": None}


def run_job(assignment: Assignment, listener: Any, ask: Ask = taken) -> dict[str, Any]:
    return work.run_job(assignment, listener, ask)


class Heard:
    """A listener that remembers, and may stop the worker when so many candidates have a result."""

    def __init__(self, stop_at: int = -1) -> None:
        self.events: list[Event] = []
        self.progress = Progress(str)
        self._stop_at = stop_at

    def __call__(self, event: Event) -> None:
        to_line(event.to_dict())
        self.events.append(event)
        self.progress.take(event.to_dict())
        if event.kind == "progress" and event.data["done"] == self._stop_at and not event.data["again"]:
            raise Interrupted("stopped")

    def parts(self, *, again: bool = False) -> list[dict[str, Any]]:
        return [event.data for event in self.events if event.kind == "progress" and event.data["again"] == again]

    def messages(self) -> str:
        return "\n".join(event.message for event in self.events)


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Clocked:
    """A world in which time passes as its bench says."""
    world = Clocked(tmp_path, kinds=GOOD)

    def bench(recipe: Any, *, listener: Any) -> Clocked:
        world.listener = listener
        return world

    monkeypatch.setattr(clock, "monotonic", lambda: world.now)
    monkeypatch.setattr("luthier.automatic.run.Workbench", bench)
    monkeypatch.setattr("luthier.automatic.ending.api.train", world.train)
    monkeypatch.setattr("luthier.automatic.ending.api.resume", world.resume)
    return world


def assignment(world: Clocked, budget: float, fence: int = 1, **more: Any) -> Assignment:
    data, folder = world.data(), world.folder
    return Assignment(
        "auto-x", fence, recipe(str(data), budget), str(folder / "run"), str(folder / "lock"), str(folder / "scratch"),
        {str(data): sha256_of(data)}, kind="auto", **more,
    )  # fmt: skip


def test_candidates_are_told_as_parts_and_the_winner_is_given(clocked: Clocked) -> None:
    heard = Heard()
    result = run_job(assignment(clocked, 200.0), heard)
    assert clocked.now <= 1.05 * 200
    told = [part["about"] for part in heard.parts()]
    assert [one["state"] for one in told[:2]] == ["running", "complete"]
    assert (told[1]["name"], told[1]["epoch"], told[1]["epochs"], told[1]["published"]) == ("linear head", 1, 1, 0)
    assert told[-1]["best"] == result["best"]["trial"]
    assert [one["elapsed"] for one in told] == sorted(one["elapsed"] for one in told)
    first = next(event for event in heard.events if "model that can be used" in event.message)
    assert heard.events.index(first) < 10
    assert "linear head" in first.message
    assert (result["method"], result["task"]) == ("lora", "classify")
    assert result["steps"] == len({one["number"] for one in told})
    assert (heard.progress.step, heard.progress.total_steps) == (result["steps"], result["steps"])
    assert json.loads((Path(result["model"]) / "luthier.json").read_text()) == {"kind": "lora"}
    page = (Path(result["folder"]) / "auto.html").read_text()
    assert "The model is on the server" in page
    assert "luthier predict" not in page


def test_killed_another_worker_goes_on_and_the_time_counts(clocked: Clocked, tmp_path: Path) -> None:
    whole = run_job(assignment(clocked, 200.0), Heard())
    for at in (40.0, 120.0, 160.0):
        clocked.folder, clocked.now, clocked.stop_after = tmp_path / f"at-{at}", 0.0, at
        clocked.folder.mkdir()
        dead = Heard()
        with pytest.raises(PowerCut):
            run_job(assignment(clocked, 200.0), dead)
        assert model_folder(clocked.folder / "run").is_dir()
        clocked.stop_after = float("inf")
        heard = Heard()
        result = run_job(assignment(clocked, 200.0, fence=2), heard)
        assert clocked.now <= 1.05 * 200 + 10, "what was spent before the kill is not spent again"
        known = {part["part"]: part["about"]["name"] for part in dead.parts()}
        assert {part["part"]: part["about"]["name"] for part in heard.parts(again=True)} == known
        names = [one["name"] for one in json.loads((Path(result["folder"]) / "auto.json").read_text())["trials"]]
        assert len(set(names)) == len(names), "no candidate is begun twice"
        if at == 40.0:
            assert result["best"]["name"] == whole["best"]["name"]


def test_what_a_dead_worker_told_last_is_put_right(clocked: Clocked) -> None:
    clocked.stop_after = 20.0
    dead = Heard()
    with pytest.raises(PowerCut):
        run_job(assignment(clocked, 200.0), dead)
    running = dead.parts()[-1]
    assert running["about"]["state"] == "running"
    clocked.stop_after = float("inf")
    heard = Heard()
    run_job(assignment(clocked, 200.0, fence=2), heard)
    again = next(part for part in heard.parts(again=True) if part["part"] == running["part"])
    assert (again["about"]["state"], again["change"]) == ("paused", "paused:0:2")
    keys = [f"{part['part']}:{part['change']}" for part in (*dead.parts(), *heard.parts(), *heard.parts(again=True))]
    assert len(set(keys)) >= len(keys) - len(heard.parts(again=True)), "a part that runs again is news"


def test_the_start_of_a_worker_is_of_the_budget_and_the_queue_is_not(clocked: Clocked) -> None:
    clocked.now = 1000.0
    run_job(assignment(clocked, 200.0, started_at=970.0), Heard())
    assert 1100.0 < clocked.now <= 970.0 + 1.05 * 200.0
    clocked.now, clocked.folder = 1000.0, clocked.folder / "b"
    clocked.folder.mkdir()
    result = run_job(assignment(clocked, 200.0, started_at=850.0), Heard())
    assert clocked.now <= 850.0 + 1.05 * 200.0, "however long the start took"
    assert Path(result["model"]).is_dir()


def test_what_comes_after_the_worker_is_of_the_budget(clocked: Clocked, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of 500 MB is 11.5 seconds of publishing by the bound, which the run leaves."""
    monkeypatch.setattr("luthier.jobs.auto_job._BYTES_A_SECOND", 1.0)
    result = run_job(assignment(clocked, 200.0), Heard())
    assert clocked.now > 100.0
    size = sum(path.stat().st_size for path in Path(result["model"]).iterdir())
    assert size > 10
    assert clocked.now + 1.5 + size <= 200.0


def test_what_publishing_took_is_left_for_the_last_one(clocked: Clocked) -> None:
    asked: list[str] = []

    def measured(kind: str, **values: Any) -> dict[str, Any]:
        asked.append(json.loads((clocked.folder / "run" / "best.json").read_text())["name"])
        return {"seconds": 40.0}

    run_job(assignment(clocked, 200.0), Heard(), measured)
    assert 100.0 < clocked.now <= 160.0
    assert asked[0] == "linear head"
    assert "lora, rank 16" in asked


def test_a_worker_that_goes_on_tells_of_the_model_that_is_there(clocked: Clocked) -> None:
    clocked.stop_after = 40.0
    with pytest.raises(PowerCut):
        run_job(assignment(clocked, 200.0), Heard())
    clocked.stop_after, died_at = float("inf"), clocked.now
    asked: list[float] = []

    def told(kind: str, **values: Any) -> dict[str, Any]:
        asked.append(clocked.now)
        return {"seconds": None}

    run_job(assignment(clocked, 200.0, fence=2), Heard(), told)
    assert asked[0] == died_at, "before anything else: who heard of it may have died too"


def test_stopped_it_says_so_and_goes_on(clocked: Clocked) -> None:
    with pytest.raises(Interrupted):
        run_job(assignment(clocked, 200.0), Heard(stop_at=3))
    folder = clocked.folder / "run"
    assert json.loads((folder / "auto.json").read_text())["done"] is False
    spent = clocked.now
    result = run_job(assignment(clocked, 200.0, fence=2), Heard())
    assert clocked.now <= 1.05 * 200
    assert clocked.now > spent
    assert json.loads((Path(result["folder"]) / "auto.json").read_text())["done"] is True


def test_what_is_too_late_names_no_folder_that_nobody_has(clocked: Clocked) -> None:
    clocked.second = 10_000.0
    with pytest.raises(DataError) as late:
        run_job(assignment(clocked, 30.0), Heard())
    assert late.value.code == "budget_too_small"
    assert str(late.value).startswith("the budget was used up")


def test_what_cannot_be_is_told(clocked: Clocked) -> None:
    job = assignment(clocked, 200.0)
    with pytest.raises(UsageError) as small:
        run_job(assignment(clocked, 5.0), Heard())
    assert small.value.code == "budget_too_small"
    Path(job.recipe["data"]["train"]).write_text("text,label\n" + "good,a\nbad,b\n" * 4)
    with pytest.raises(DataError) as few:
        run_job(Assignment(**{**vars_of(job), "files": {}}), Heard())
    assert few.value.code == "too_few_rows"


def vars_of(job: Assignment) -> dict[str, Any]:
    return {name: getattr(job, name) for name in job.__dataclass_fields__}


def auto_job(**fields: Any) -> Job:
    return Job(
        **{
            "id": "auto-abc", "project_id": "proj_x", "kind": "auto", "status": "running", "model": "minilm",
            "base_model": "minilm", "task": "classify", "training_file": "file-x", "created_at": 1, "seed": 0,
            "recipe": recipe("file-x", 60.0), **fields,
        }
    )  # fmt: skip


def test_a_cancelled_run_leaves_the_best_model_so_far(tmp_path: Path) -> None:
    shop = Workshop(tmp_path / "home", start=False)
    place = Workplace(shop.home / "work", auto_job())
    assert publish_stopped(shop.artefacts, place, "local") is None
    run = durable.make_folder(place.run.path)
    settings = {"task": "classify", "method": {"kind": "head"}}
    durable.write_json(durable.make_folder(run / "best" / "0001-linear-head") / "luthier.json", settings)
    durable.write_json(run / "best.json", {"model": "best/0001-linear-head", "name": "linear head"})
    first = publish_stopped(shop.artefacts, place, "local")
    assert first is not None
    [model] = first.models
    assert (model.task, model.method, model.base_model) == ("classify", "head", "minilm")
    assert (shop.artefacts.folder(model.artefact) / "luthier.json").is_file()
    assert first.fields["result"] == {}, "a worker that was ended at once wrote no report"
    lines: list[dict[str, Any]] = []
    for number, (name, value) in enumerate((("linear head", 0.5), ("full", 0.75))):
        lines.append({"kind": "begun", "number": number, "candidate": {"name": name}})
        result = {"value": value, "history": [{"metric_name": "accuracy"}]}
        lines.append({"kind": "rung", "number": number, "result": result})
    durable.write_text(run / "journal.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    durable.write_json(run / "auto.json", {})
    second = publish_stopped(shop.artefacts, place, "local")
    assert second is not None
    assert second.fields["result"]["best"] == {"trial": 0, "name": "linear head", "value": 0.5}
    assert second.fields["result"]["metrics"] == {"accuracy": 0.5}
    assert second.fields["result"]["folder"] == "found/auto-abc"
    durable.write_json(run / "best.json", {"model": "best/0001-linear-head", "name": "base"})
    assert publish_stopped(shop.artefacts, place, "local") is None, "nothing was taught to it"
    search = Workplace(shop.home / "work", auto_job(kind="search"))
    assert publish_stopped(shop.artefacts, search, "local") is None
    assert search.shrink() is False, "what memory ends does not lose the parts that are done"
    shop.close()


def made(shop: Workshop, budget: float) -> Job:
    file = shop.upload(labelled_rows(120), "films.csv")
    asked = recipe(file.id, budget, "toy", overrides=["train.max_length=16"]) | {"method": {}}
    return shop.create(file, recipe=asked, kind="auto", id="auto-abc", suffix="films")


@pytest.mark.slow  # real workers and a budget of 24 seconds
def test_a_run_is_killed_and_ends_in_its_budget(toy_workshop: Workshop) -> None:
    shop = toy_workshop
    job = made(shop, 24.0)
    shop.until(job, lambda found: found.step >= 4)
    os.kill(shop.worker(job), signal.SIGKILL)
    done = shop.until_status(job, "succeeded")
    assert done.finished_at is not None
    assert done.started_at is not None
    assert done.finished_at - done.started_at <= 1.05 * 24 + 6, "what a kill leaves uncounted"
    assert done.fine_tuned_model is not None
    assert done.fine_tuned_model.startswith("ft:toy:local:films:")
    assert done.task == "classify"
    folder = shop.artefacts.folder(done.result["folder"])
    texts = [(folder / name).read_text() for name in ("auto.json", "auto.html", "recipe.yaml")]
    assert not any(str(shop.home) in text for text in texts)
    report = json.loads(texts[0])
    assert report["done"] is True
    parts = shop.store.curves.parts(shop.project, job.id)
    assert [part["name"] for part in parts] == [one["name"] for one in report["trials"]]
    assert not [part for part in parts if part["state"] == "running"]
    model = shop.store.models.get(shop.project, done.fine_tuned_model)
    assert (model.base_model, model.task) == ("toy", "classify")
    assert (shop.artefacts.folder(model.artefact) / "luthier.json").is_file()
    messages = [event.message for event in shop.events(job)]
    assert sum("model that can be used is there" in one for one in messages) == 1
    shop.until_gone(shop.home / "work" / job.id)


def answering(shop: Workshop, job: Job) -> bool:
    """Whether the model of the job is there to be loaded."""
    found = shop.job(job)
    assert found.fine_tuned_model is not None
    model = shop.store.models.get(shop.project, found.fine_tuned_model)
    return (shop.artefacts.folder(model.artefact) / "luthier.json").is_file()


@pytest.mark.slow  # a real worker: about 20 seconds
@pytest.mark.parametrize("killed", [False, True])
def test_a_paused_run_is_cancelled_with_its_best_model(toy_workshop: Workshop, killed: bool) -> None:
    shop = toy_workshop
    job = made(shop, 300.0)
    shop.until(job, lambda found: found.fine_tuned_model is not None and found.step >= 2)
    if killed:  # the worker; the job then waits, and is paused before another one has it or by that one
        os.kill(shop.worker(job), signal.SIGKILL)
    shop.store.jobs.pause(shop.project, job.id)
    shop.until_status(job, "paused")
    done = shop.store.jobs.cancel(shop.project, job.id)
    assert done.status == "cancelled"
    assert answering(shop, job)
    assert done.result["best"]["name"]
    shop.until_gone(shop.home / "work" / job.id)
    assert answering(shop, job)


@pytest.mark.slow  # a real worker: about 20 seconds
def test_a_run_is_paused_and_cancelled_with_its_best_model(toy_workshop: Workshop) -> None:
    shop = toy_workshop
    job = made(shop, 300.0)
    shop.until(job, lambda found: found.fine_tuned_model is not None and found.step >= 2)
    assert answering(shop, job), "while it runs"
    shop.store.jobs.pause(shop.project, job.id)
    shop.until_status(job, "paused")
    assert answering(shop, job), "while nobody works on it"
    shop.store.jobs.resume(shop.project, job.id)
    at = shop.job(job).step
    shop.until(job, lambda found: found.step > at)
    began = time.monotonic()
    shop.store.jobs.cancel(shop.project, job.id)
    done = shop.until_status(job, "cancelled")
    assert time.monotonic() - began < 25
    assert done.fine_tuned_model is not None
    model = shop.store.models.get(shop.project, done.fine_tuned_model)
    assert (shop.artefacts.folder(model.artefact) / "luthier.json").is_file()
    assert done.result["best"]["name"]
    parts = shop.store.curves.parts(shop.project, job.id)
    assert done.result["best"]["name"] in [part["name"] for part in parts]
    shop.until_gone(shop.home / "work" / job.id)
