"""A decision as a job: a real one with a tiny base, stopped and gone on with; its arms told; its model published."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from workshop import Workshop, labelled_rows, no_questions

from luthier.core.errors import Interrupted, UsageError
from luthier.core.events import Event
from luthier.deciding import rows as deciding_rows
from luthier.jobs.artefacts import sha256_of
from luthier.jobs.work import run_job
from luthier.jobs.worker_wire import Assignment, to_line
from luthier.jobs.workplace import Workplace

pytestmark = pytest.mark.usefixtures("toy_cache")
ARMS = ["majority", "tfidf", "head only"]


def request(model: str, data: str, **how: Any) -> dict[str, Any]:
    return {
        "task": "classify", "model": model, "generator": None, "data": {"train": data, "columns": {}},
        "decide": {"arms": ARMS, "budget": 300.0, "seed": 0, "overrides": ["train.epochs=2"], "prices": None, **how},
    }  # fmt: skip


class Arms:
    """A listener that remembers, and may stop the worker at an arm."""

    def __init__(self, stop_at: int = 0) -> None:
        self.events: list[Event] = []
        self._stop_at = stop_at

    def __call__(self, event: Event) -> None:
        to_line(event.to_dict())
        self.events.append(event)
        if event.kind == "progress" and event.data["done"] == self._stop_at:
            raise Interrupted("stopped")

    def arms(self, *, again: bool = False) -> list[str]:
        found = [event.data for event in self.events if event.kind == "progress" and event.data["again"] == again]
        return [data["part"] for data in found]


def test_a_decision_goes_on_with_the_arms_that_it_has(toy_base: Path, tmp_path: Path) -> None:
    data = tmp_path / "rows.csv"
    data.write_bytes(labelled_rows(80))
    job = Assignment(
        "decision-x", 1, request(str(toy_base), str(data)), str(tmp_path / "run"), str(tmp_path / "lock"),
        str(tmp_path / "scratch"), {str(data): sha256_of(data)}, kind="decision",
    )  # fmt: skip
    with pytest.raises(Interrupted):
        run_job(job, Arms(stop_at=2), no_questions)
    heard = Arms()
    result = run_job(job, heard, no_questions)
    assert heard.arms(again=True) == ARMS[:2]
    assert heard.arms() == ARMS[2:], "no arm is built twice"
    told = [event.message for event in heard.events if event.message.startswith("head only: ")]
    assert len(told) == 1, "an arm is told once"
    assert "%" in told[0]
    again = run_job(job, late := Arms(), no_questions)
    assert late.arms(again=True) == ARMS
    decided = json.loads((Path(result["folder"]) / "decision.json").read_text())
    assert [arm["name"] for arm in decided["arms"]] == ARMS
    assert {arm["state"] for arm in decided["arms"]} == {"measured"}
    assert all(arm["metrics"]["accuracy"]["low"] is not None for arm in decided["arms"])
    assert (again["arm"], again["metrics"]) == (result["arm"], result["metrics"])
    answers = [json.loads(line) for line in (Path(result["folder"]) / "answers.jsonl").read_text().splitlines()]
    assert len(answers) == decided["rows"]["held_out"]
    assert result["warnings"][0] == f"{len(answers)} of the rows were held out to judge on.", "no option of a command"
    for name in ARMS:
        right = sum(row["answers"][name]["wrong"] == 0 for row in answers) / len(answers)
        told = next(arm for arm in decided["arms"] if arm["name"] == name)
        assert right == pytest.approx(told["metrics"]["accuracy"]["value"])
        assert all((row["answers"][name]["wrong"] == 0) == (row["answers"][name]["predicted"] == row["expected"])
                   for row in answers)  # fmt: skip


def test_a_signal_while_an_arm_trains_is_no_failed_arm(
    toy_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any) -> Any:
        raise Interrupted("stopped after step 3")

    data = tmp_path / "rows.csv"
    data.write_bytes(labelled_rows(80))
    monkeypatch.setattr("luthier.deciding.plans.train_arm", stopped)
    job = Assignment(
        "decision-x", 1, request(str(toy_base), str(data)), str(tmp_path / "run"), str(tmp_path / "lock"),
        str(tmp_path / "scratch"), {str(data): sha256_of(data)}, kind="decision",
    )  # fmt: skip
    with pytest.raises(Interrupted):
        run_job(job, Arms(), no_questions)
    assert deciding_rows.FEWEST == 8
    assert sorted(path.name for path in (tmp_path / "run" / "kept").iterdir()) == ["000.json", "001.json"]


def test_the_key_of_an_endpoint_is_in_the_environment_of_one_worker_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "assistants"
    folder.mkdir()
    (folder / "api.yaml").write_text("openapi: 3.1.0\n")
    (folder / "shop.yaml").write_text(
        "name: shop\nendpoint: {url: 'https://api.example.com/v1', name: m, key_env: SHOP_KEY}\n"
    )
    monkeypatch.setenv("SHOP_KEY", "sk-very-secret")
    shop = Workshop(tmp_path / "home", start=False, assistants=folder)
    file = shop.upload(labelled_rows(80), "films.csv")
    asked = request("minilm", file.id, assistant="shop") | {"method": {}}
    job = shop.create(file, recipe=asked, kind="decision", id="decision-abc", task="classify", status="queued")
    claim = shop.queue.claim()
    assert claim is not None
    assigning = shop.supervisor._assigning
    told = assigning.of(claim, Workplace(shop.supervisor.work, claim.job))
    assert told.recipe["decide"]["endpoint"] == {
        "url": "https://api.example.com/v1", "name": "m", "key_variable": "SHOP_KEY",
    }  # fmt: skip
    assert told.recipe["decide"]["assistant"] is None, "labels are no texts"
    assert "sk-very-secret" not in told.to_line().decode()
    assert assigning.secrets(claim.job) == {"SHOP_KEY": "sk-very-secret"}
    plain = replace(claim.job, recipe=request("minilm", file.id))
    assert assigning.secrets(plain) == {}
    gone = replace(claim.job, recipe=request("minilm", file.id, assistant="nobody"))
    with pytest.raises(UsageError, match="no assistant 'nobody'"):
        assigning.secrets(gone)
    assert job.recipe["decide"]["assistant"] == "shop"
    shop.close()


@pytest.mark.slow  # a real worker: about 15 seconds
def test_a_decision_is_published_with_the_model_of_its_arm(toy_workshop: Workshop) -> None:
    file = toy_workshop.upload(labelled_rows(80), "films.csv")
    asked = request("toy", file.id, arms=["majority", "head only"], overrides=["train.epochs=20"])
    job = toy_workshop.create(file, recipe=asked | {"method": {}}, kind="decision", id="decision-abc", suffix="films")
    done = toy_workshop.until_status(job, "succeeded")
    assert (done.step, done.total_steps, done.task, done.result["arm"]) == (2, 2, "classify", "head only")
    assert done.fine_tuned_model is not None
    assert done.fine_tuned_model.startswith("ft:toy:local:films:")
    folder = toy_workshop.artefacts.folder(done.result["folder"])
    texts = [(folder / name).read_text() for name in ("decision.json", "decision.html", "answers.jsonl")]
    assert not any(str(toy_workshop.home) in text for text in texts)
    parts = toy_workshop.store.curves.parts(toy_workshop.project, job.id)
    assert [(part["name"], part["state"]) for part in parts] == [("majority", "measured"), ("head only", "measured")]
    model = toy_workshop.store.models.get(toy_workshop.project, done.fine_tuned_model)
    assert (model.method, model.base_model) == ("head", "toy")
    assert (toy_workshop.artefacts.folder(model.artefact) / "luthier.json").is_file()
