"""More epochs of a finished job, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from wire import Wire, class_rows

from luthier.jobs.records import Model, NewEvent


class Trained:
    """A server with one finished job."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.headers = {"authorization": f"Bearer {wire.key('write')}"}
        self.file = wire.client().files.create(file=("rows.csv", class_rows()), purpose="fine-tune").id
        recipe = {"data": {"train": self.file, "validation": 0.2}, "task": "classify", "method": "lora"}
        self.id = self.ask("POST", "jobs", {"recipe": recipe, "suffix": "films"}).json()["id"]
        wire.store.jobs.validated(self.id, {}, [])
        claim = wire.queue.claim()
        assert claim is not None
        events = [NewEvent(f"step:{n}", "Step", type="metrics", data={"step": n, "train_loss": 1 / n})
                  for n in (1, 2)]  # fmt: skip
        wire.queue.record(claim, events, step=2, chosen={"n_epochs": 5, "batch_size": 4})
        self.job, self.claim = claim.job, claim

    def finish(self, *, state: bool) -> None:
        name = "ft:minilm:local:films:12345678"
        folder = self.wire.settings.home / "made"
        folder.mkdir()
        (folder / "weights").write_text("x")
        self.wire.artefacts.put_folder(f"models/{self.id}/final", folder)
        if state:
            self.wire.artefacts.put_folder(f"states/{self.id}", folder)
        model = Model(name, self.wire.project, self.id, "minilm", "classify", "lora", f"models/{self.id}/final", 1)
        self.wire.queue.finish(
            self.claim, "succeeded", events=[], models=[model], fine_tuned_model=name,
            result={"state": state, "trained_epochs": 3},
        )  # fmt: skip

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        return self.wire.http.request(method, f"/luthier/v1/{path}", json=body, headers=headers or self.headers)

    def extend(self, **body: Any) -> Any:
        return self.ask("POST", f"jobs/{self.id}/extend", body)


@pytest.fixture
def trained(plain_wire: Wire) -> Trained:
    return Trained(plain_wire)


def test_it_goes_on_from_its_state(trained: Trained) -> None:
    trained.finish(state=True)
    answer = trained.extend(epochs=2)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["id"] != trained.id
    assert told["origin"] == {"job": trained.id, "epochs": 3, "step": 2, "continues": "state"}
    assert (told["recipe"]["train"]["epochs"], told["recipe"]["train"]["patience"]) == (5, 0)
    assert told["seed"] == trained.job.seed
    assert told["hyperparameters"]["n_epochs"] == 5
    assert told["user_provided_suffix"] == "films"
    job = trained.wire.store.jobs.find(told["id"])
    assert (job.parent, job.status) == (None, "validating_files")
    assert trained.extend(epochs=2).json()["id"] == told["id"], "asked twice, it is made once"
    assert trained.extend(epochs=3).json()["id"] != told["id"]
    curve = trained.ask("GET", f"jobs/{told['id']}/metrics").json()
    assert curve["steps"]["step"] == [1, 2], "the curve begins with that of the first job"


def test_without_its_state_it_goes_on_from_its_weights(trained: Trained) -> None:
    trained.finish(state=False)
    told = trained.extend(epochs=2, suffix="more").json()
    assert told["origin"]["continues"] == "weights"
    assert (told["recipe"]["train"]["epochs"], told["user_provided_suffix"]) == (2, "more")
    assert told["recipe"]["data"]["split_seed"] == trained.job.seed, "the same rows are held back"
    assert told["seed"] != trained.job.seed
    assert trained.wire.store.jobs.find(told["id"]).parent == "ft:minilm:local:films:12345678"
    assert trained.ask("GET", f"jobs/{told['id']}/metrics").json()["steps"]["step"] == []


def test_what_cannot_be_extended_is_refused(trained: Trained) -> None:
    running = trained.extend(epochs=1)
    assert (running.status_code, running.json()["error"]["code"]) == (400, "job_status")
    assert "running" in running.json()["error"]["message"]
    trained.finish(state=True)
    for body in ({"epochs": 0}, {"epochs": 10**6}, {}, {"epochs": 1, "lr": 2}, {"epochs": 998}):
        assert trained.extend(**body).status_code == 400, body
    unknown = trained.ask("POST", "jobs/ftjob-nothing/extend", {"epochs": 1})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "fine_tune_not_found")
    trained.wire.client().files.delete(trained.file)
    gone = trained.extend(epochs=1)
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "file_not_found")


def test_the_state_goes_with_the_model(trained: Trained) -> None:
    trained.finish(state=True)
    trained.wire.client().models.delete("ft:minilm:local:films:12345678")
    assert not list((trained.wire.settings.home / "artefacts" / "states").iterdir())
    assert trained.extend(epochs=1).json()["error"]["code"] == "model_not_found"
