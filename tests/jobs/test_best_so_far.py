"""The best model so far of an automatic run: called by one name while it runs, replaced whole, kept by every cancel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from making import Making, MovedClock

from luthier.automatic.folder import slug
from luthier.core import clock, durable
from luthier.core.errors import StorageError
from luthier.jobs import leftovers
from luthier.jobs.artefacts import FolderArtefacts
from luthier.jobs.best_so_far import BestSoFar, stopped_words
from luthier.jobs.errors import NotFound
from luthier.jobs.leftovers import GRACE_SECONDS, Leftovers
from luthier.jobs.queue import Queue
from luthier.jobs.records import Claim, Job
from luthier.jobs.store import Store
from luthier.jobs.workplace import Workplace


class Bench:
    """A supervisor's hands, and a worker's folder, without a worker."""

    def __init__(self, store: Store, make: Making, home: Path) -> None:
        self.store, self.home = store, home
        self.queue: Queue = make.queue()
        self.claim: Claim = make.claim(self.queue, kind="auto", id="auto-abc", base_model="minilm", suffix="films")
        self.artefacts = FolderArtefacts(home / "artefacts")
        self.leftovers = Leftovers(self.artefacts, store.models, home / "leftovers.json")
        self.taker = self.begun()

    def begun(self) -> BestSoFar:
        """As another claim begins it."""
        self.place = Workplace(self.home / "work", self.claim.job)
        return BestSoFar(self.queue, self.claim, self.place, self.artefacts, "local", self.leftovers)

    def write(self, number: int, name: str, value: float = 0.5) -> None:
        """What a worker writes before it says that there is a better one."""
        run = durable.make_folder(self.place.run.path)
        folder = f"best/{number:04d}-{slug(name)}"
        settings = {"task": "classify", "method": {"kind": "head"}, "told": name}
        durable.write_json(durable.make_folder(run / folder) / "luthier.json", settings)
        durable.write_json(run / "best.json", {"model": folder, "name": name})
        result = {"value": value, "history": [{"metric_name": "accuracy"}]}
        lines: list[dict[str, Any]] = [
            {"kind": "begun", "number": number, "candidate": {"name": name}},
            {"kind": "rung", "number": number, "result": result},
        ]
        with open(run / "journal.jsonl", "a", encoding="utf-8") as journal:
            journal.writelines(json.dumps(line) + "\n" for line in lines)

    def put(self, number: int, name: str, value: float = 0.5) -> None:
        """Written, told of, and published; then the worker removes it, as it does with what is the best no more."""
        self.write(number, name, value)
        self.taker.take()
        durable.remove_tree(self.place.run.path / "best")
        self.settled()

    def settled(self) -> None:
        thread = self.taker._thread
        if thread is not None:
            thread.join()

    @property
    def job(self) -> Job:
        return self.store.jobs.find("auto-abc")

    def answers(self) -> str:
        """Which model answers to the name of the job's model."""
        name = self.job.fine_tuned_model
        assert name is not None
        model = self.store.models.get(self.job.project_id, name)
        told: str = json.loads((self.artefacts.folder(model.artefact) / "luthier.json").read_text())["told"]
        return told


@pytest.fixture
def bench(store: Store, make: Making, tmp_path: Path) -> Bench:
    return Bench(store, make, tmp_path)


def test_it_can_be_called_while_the_run_goes_on_and_a_better_one_takes_its_name(bench: Bench) -> None:
    bench.put(1, "linear head", 0.5)
    name = bench.job.fine_tuned_model
    assert (bench.job.status, bench.answers()) == ("running", "linear head")
    assert name is not None
    assert name.startswith("ft:minilm:local:films:")
    assert bench.job.result["best"] == {"trial": 1, "name": "linear head", "value": 0.5}
    before = bench.artefacts.folder(bench.store.models.get(bench.job.project_id, name).artefact)
    bench.put(2, "full", 0.75)
    assert (bench.job.fine_tuned_model, bench.answers()) == (name, "full")
    assert bench.job.result["metrics"] == {"accuracy": 0.75}
    assert (before / "luthier.json").is_file(), "somebody may be loading it"
    assert len(bench.store.models.list(bench.job.project_id)) == 1
    assert bench.taker.seconds is not None
    events = bench.store.jobs.events(bench.job.project_id, "auto-abc", order="asc").items
    assert [event.message for event in events if event.key.startswith("best:")] == [
        f"The best model so far can be called: {name} (linear head)",
        f"The best model so far can be called: {name} (full)",
    ]


@pytest.mark.parametrize("way", ["waiting", "paused", "rescued"])
def test_a_cancel_of_a_run_that_does_not_run_keeps_it(
    bench: Bench, way: str, moved_clock: MovedClock
) -> None:  # fmt: skip
    bench.put(1, "linear head")
    store, project = bench.store.jobs, bench.job.project_id
    if way == "rescued":  # its supervisor was killed
        moved_clock.pass_seconds(1000.0)
        assert bench.queue.rescue() == ["auto-abc"]
    else:
        if way == "paused":
            store.pause(project, "auto-abc")
        bench.queue.release(bench.claim, True, [])
    assert bench.job.status == ("paused" if way == "paused" else "queued")
    assert bench.answers() == "linear head", "it answers while nobody works on it"
    store.cancel(project, "auto-abc")
    assert (bench.job.status, bench.answers()) == ("cancelled", "linear head")
    assert stopped_words(bench.job) == (
        "Ended before its time: the best model until then is kept, linear head (accuracy 0.5 on the validation rows)."
    )


def test_another_worker_tells_of_it_again_and_nothing_is_done_twice(bench: Bench) -> None:
    bench.put(1, "linear head")
    bench.queue.release(bench.claim, True, [])
    claim = bench.queue.claim()
    assert claim is not None
    bench.claim = claim
    bench.taker = bench.begun()
    version = bench.job.version
    bench.put(1, "linear head")
    assert bench.job.version == version
    bench.put(2, "full", 0.75)
    assert bench.answers() == "full"


def test_killed_before_the_row_another_worker_publishes_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.put(1, "linear head")

    def killed(*args: Any, **more: Any) -> None:
        raise OSError("as if the power had gone")

    with monkeypatch.context() as patch:
        patch.setattr(bench.queue, "record", killed)
        bench.put(2, "full")
    assert bench.answers() == "linear head"
    bench.write(2, "full")
    bench.taker = bench.begun()
    bench.taker.take()
    bench.settled()
    assert bench.answers() == "full"


def test_where_nothing_was_taught_there_is_no_model(bench: Bench) -> None:
    bench.taker.take()
    bench.put(1, "base")
    assert bench.job.fine_tuned_model is None
    assert bench.store.models.list(bench.job.project_id) == []
    bench.put(2, "lora, rank 16", 2.5)
    assert bench.answers() == "lora, rank 16"
    assert bench.job.result["metrics"] == {"accuracy": 2.5}


def test_who_lost_the_claim_writes_nothing(bench: Bench) -> None:
    bench.put(1, "linear head")
    bench.queue.release(bench.claim, True, [])
    bench.put(2, "full")
    assert bench.answers() == "linear head"


def test_a_full_disk_is_no_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise StorageError("The disk is full.", code="disk_full")

    with monkeypatch.context() as patch:
        patch.setattr(bench.artefacts, "put_folder", full)
        bench.put(1, "linear head")
    assert bench.job.fine_tuned_model is None
    bench.put(2, "full")
    assert bench.answers() == "full"


def test_what_was_replaced_is_removed_a_while_later(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    folder = bench.home / "artefacts" / "models" / "auto-abc"
    bench.put(1, "linear head")
    for _ in range(3):
        bench.leftovers.look()
        now[0] += GRACE_SECONDS
    assert bench.answers() == "linear head", "what is used stays, however long"
    bench.put(2, "full")
    bench.leftovers.look()
    now[0] += GRACE_SECONDS - 1.0
    bench.leftovers.look()
    assert len(list(folder.iterdir())) == 2
    now[0] += 1.0
    bench.leftovers.look()
    assert [path.name for path in folder.iterdir()] == ["best-0002-full"]
    assert bench.answers() == "full"
    assert json.loads((bench.home / "leftovers.json").read_text()) == ["models/auto-abc/best-0002-full"]


def test_what_a_crash_left_is_removed_by_the_next_process(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    bench.put(1, "linear head")
    bench.store.models.delete(bench.job.project_id, str(bench.job.fine_tuned_model))
    again = Leftovers(bench.artefacts, bench.store.models, bench.home / "leftovers.json")
    again.look()
    now[0] += GRACE_SECONDS
    again.look()
    assert list((bench.home / "artefacts" / "models" / "auto-abc").iterdir()) == []
    assert json.loads((bench.home / "leftovers.json").read_text()) == []
    (bench.home / "leftovers.json").write_text("{")
    with pytest.raises(StorageError, match=r"leftovers\.json"):
        leftovers.Leftovers(bench.artefacts, bench.store.models, bench.home / "leftovers.json")


def test_a_job_of_another_name_keeps_its_model(bench: Bench, make: Making) -> None:
    """Names are made of the job: one that another job has is not taken over."""
    bench.put(1, "linear head")
    with pytest.raises(NotFound):
        bench.store.models.get("proj_other", str(bench.job.fine_tuned_model))
