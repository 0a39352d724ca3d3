"""Automatic runs over HTTP: asked strictly, candidates told while they run, the winner and its report at the end."""

from __future__ import annotations

from typing import Any

import pytest
from part_asking import Asking
from wire import Wire, class_rows

from luthier.jobs.records import Claim, Model

ACCURACY = {"value": 0.9, "low": 0.8, "high": 0.95}


@pytest.fixture
def asking(plain_wire: Wire) -> Asking:
    return Asking(plain_wire)


def candidate(number: int, name: str, state: str, value: float | None, **more: Any) -> dict[str, Any]:
    return {
        "number": number, "name": name, "state": state, "epochs": 3, "epoch": 1, "value": value, "seconds": 1.5,
        "error": "", "metric": "accuracy", "best": 0, "published": 0, "elapsed": 10.0 + number,
        "higher_is_better": True, **more,
    }  # fmt: skip


def publish(asking: Asking, claim: Claim, best: dict[str, Any]) -> str:
    """As a supervisor does with the best model so far."""
    job, name = claim.job, f"ft:{claim.job.id}"
    model = Model(name, job.project_id, job.id, job.base_model, "classify", "head", f"models/{job.id}/best-0001", 1)
    result = {"best": best, "metrics": {"accuracy": best["value"]}}
    asking.wire.queue.record(claim, [], models=[model], fine_tuned_model=name, result=result)
    return name


@pytest.mark.parametrize("status", ["running", "paused", "queued"])
def test_a_cancel_at_any_time_keeps_the_best_and_says_so(asking: Asking, status: str) -> None:
    auto = asking.auto(budget=60).json()["id"]
    claim = asking.claim(auto)
    name = publish(asking, claim, {"trial": 0, "name": "linear head", "value": 0.7})
    if status == "paused":
        asking.ask("POST", f"autos/{auto}/pause")
    if status != "running":
        asking.wire.queue.release(claim, True, [])
    assert asking.ask("GET", f"autos/{auto}").json()["status"] == status
    assert name in [one["id"] for one in asking.wire.http.get("/v1/models", headers=asking.headers).json()["data"]]
    if status == "running":  # its supervisor says the end
        asking.wire.store.jobs.cancel(claim.job.project_id, auto)
        asking.wire.queue.finish(claim, "cancelled", events=[])
    told = asking.ask("POST", f"autos/{auto}/cancel").json()
    assert (told["status"], told["fine_tuned_model"], told["usable"]) == ("cancelled", name, None)
    assert told["best"]["name"] == "linear head"
    assert told["verdict"] == (
        "Ended before its time: the best model until then is kept, linear head (accuracy 0.7 on the validation rows)."
    )
    assert name in [one["id"] for one in asking.wire.http.get("/v1/models", headers=asking.headers).json()["data"]]
    if status != "running":
        events = asking.wire.client().fine_tuning.jobs.list_events(auto)
        assert f"The automatic run was cancelled; its best model so far is kept: {name}" in [e.message for e in events]


def test_a_cancel_before_the_first_model_gives_none(asking: Asking) -> None:
    auto = asking.auto(budget=60).json()["id"]
    told = asking.ask("POST", f"autos/{auto}/cancel").json()
    assert (told["status"], told["fine_tuned_model"], told["verdict"]) == ("cancelled", None, None)


def test_an_automatic_run_is_a_job_of_its_own_kind(asking: Asking) -> None:
    answer = asking.auto(budget="2m", suffix="films", metadata={"name": "Films"}, settings={"train.max_length": 64})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["id"].startswith("auto-")
    assert (told["object"], told["status"], told["task"], told["model"]) == (
        "auto", "validating_files", "classify", "minilm",
    )  # fmt: skip
    assert (told["budget_seconds"], told["candidates"], told["best"], told["usable"]) == (120.0, [], None, None)
    assert told["request"]["overrides"] == ["train.max_length=64"]
    assert [one["id"] for one in asking.ask("GET", "autos").json()["data"]] == [told["id"]]
    assert asking.ask("GET", f"autos/{told['id']}").json() == told
    assert asking.ask("GET", "jobs").json()["data"] == []
    for path in (f"jobs/{told['id']}", f"searches/{told['id']}", f"decisions/{told['id']}"):
        assert asking.ask("GET", path).status_code == 404
    missing = asking.ask("GET", "autos/auto-x").json()["error"]
    assert (missing["code"], missing["message"]) == ("auto_not_found", "There is no automatic run 'auto-x'.")
    events = asking.wire.client().fine_tuning.jobs.list_events(told["id"])
    assert [event.message for event in events][-1] == f"Created automatic run: {told['id']}"


def test_the_same_request_makes_one_run(asking: Asking) -> None:
    first = asking.auto(budget=60).json()["id"]
    assert asking.auto(budget=60).json()["id"] == first
    assert asking.auto(budget=61).json()["id"] != first


def test_candidates_are_told_while_they_run_and_when_it_is_over(asking: Asking) -> None:
    auto = asking.auto(budget="1.5m").json()["id"]
    claim = asking.claim(auto)
    asking.tell(claim, "0", "complete:1", candidate(0, "linear head", "complete", 0.7, epochs=1), 1)
    asking.tell(claim, "1", "running:0:1", candidate(1, "full", "running", None), 1)
    told = asking.ask("GET", f"autos/{auto}").json()
    assert [(one["number"], one["name"], one["state"], one["value"]) for one in told["candidates"]] == [
        (0, "linear head", "complete", 0.7), (1, "full", "running", None),
    ]  # fmt: skip
    head = {"trial": 0, "name": "linear head", "value": 0.7}
    assert (told["best"], told["usable"], told["metric"], told["elapsed_seconds"]) == (head, None, "accuracy", 11.0)
    publish(asking, claim, head)
    told = asking.ask("GET", f"autos/{auto}").json()
    assert (told["usable"], told["fine_tuned_model"]) == (head, f"ft:{auto}")
    asking.tell(claim, "1", "paused:1", candidate(1, "full", "paused", 0.8, best=1, elapsed=20.0), 2)
    told = asking.ask("GET", f"autos/{auto}").json()
    assert (told["best"]["name"], told["usable"]["name"]) == ("full", "linear head"), "its model is not there yet"
    assert told["verdict"] is None
    assert asking.ask("GET", f"autos/{auto}/page").json()["error"]["code"] == "no_page"
    trials = [
        {**candidate(n, name, "complete", value), "loss": 0.2, "seconds_of_all": 3.0, "trainable_parameters": 10,
         "stopped_early": False, "pareto": n == 1, "at": 5.0, "curve": [[1, 0.7, 0.3]], "error": None,
         "run": "trials/x"}
        for n, name, value in ((0, "linear head", 0.7), (1, "full", 0.9))
    ]  # fmt: skip
    best = {"trial": 1, "name": "full", "value": 0.9, "recipe": {"task": "classify"}, "metrics": {"accuracy": 0.9}}
    report = {
        "trials": trials, "metric": "accuracy", "metric_title": "Accuracy", "higher_is_better": True, "seconds": 88.0,
        "rows": {"train": 90, "validation": 10, "test": 0}, "baseline": {"name": "tfidf", "value": 0.6}, "notes": [],
        "final": {"verdict": "Good.", "is_fresh": True}, "best": best,
    }  # fmt: skip
    asking.finish(claim, auto_json=report, auto_html="<p>")
    told = asking.ask("GET", f"autos/{auto}").json()
    assert (told["status"], told["verdict"], told["usable"]) == ("succeeded", "Good.", None)
    assert told["best"] == {"trial": 1, "name": "full", "value": 0.9}
    assert (told["seconds"], told["recipe"], told["final"]["is_fresh"]) == (88.0, {"task": "classify"}, True)
    assert [one["pareto"] for one in told["candidates"]] == [False, True]
    assert told["candidates"][1]["curve"] == [[1, 0.7, 0.3]]
    assert "run" not in told["candidates"][0]
    page = asking.ask("GET", f"autos/{auto}/page")
    assert page.headers["content-disposition"].startswith("attachment;")


@pytest.mark.parametrize(
    ("body", "status", "param", "words"),
    [
        ({"budget": "soon"}, 400, "budget", "'10m'"),
        ({"budget": 5}, 400, "budget", "20 seconds"),
        ({"budget": "1s"}, 400, "budget", "20 seconds"),
        ({"budget": "48h"}, 400, "budget", "24 hours"),
        ({"budget": True}, 400, "budget", "seconds"),
        ({"budget": None}, 400, "budget", "seconds"),
        ({"data": {}}, 400, "data.train", "a data set"),
        ({"data": {"train": "file-nothing"}}, 404, "data.train", "file-nothing"),
        ({"data": {"train": "/etc/passwd"}}, 404, "data.train", "passwd"),
        ({"data": {"dataset": "ds_nothing"}}, 404, "data.dataset", "data set"),
        ({"data": {"train": "file-x", "dataset": "ds_x"}}, 400, "data.train", "not both"),
        ({"task": "sing"}, 400, "task", "classify"),
        ({"task": "chat", "model": "minilm"}, 400, "model", "learns to"),
        ({"model": "gpt-4o"}, 404, "model", "gpt-4o"),
        ({"settings": {"train.seed": 3}}, 400, "settings", "'seed'"),
        ({"settings": {"data.template": "x"}}, 400, "settings", "train"),
        ({"objective": "accuracy"}, 400, "objective", "Unknown"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(
    asking: Asking, body: dict[str, Any], status: int, param: str, words: str
) -> None:  # fmt: skip
    for path in ("autos", "autos/texts"):
        answer = asking.ask("POST", path, {"data": {"train": asking.rows}, **body})
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (status, param), answer.text
        assert words in error["message"], answer.text
    assert asking.ask("GET", "autos").json()["data"] == []


@pytest.mark.parametrize("share", [0, 1.0, "", True])
def test_what_is_held_out_is_a_share_or_a_file(asking: Asking, share: Any) -> None:
    answer = asking.auto(data={"train": asking.rows, "validation": share})
    assert (answer.status_code, answer.json()["error"]["param"].split(".")[:2]) == (400, ["data", "validation"])
    assert asking.auto(data={"train": asking.rows, "validation": asking.rows}).status_code == 200


def test_a_data_set_is_learned_from_as_it_is_now(asking: Asking) -> None:
    files = asking.wire.client().files
    file = files.create(file=("more.csv", class_rows()), purpose="fine-tune").id
    made = asking.ask("POST", "datasets", {"file_id": file, "name": "more"})
    assert made.status_code == 200, made.text
    told = asking.auto(data={"dataset": made.json()["id"], "test": asking.rows}).json()
    assert (told["training_file"], told["request"]["data"]["test"]) == (file, asking.rows)


def test_it_is_written_down_without_being_made(asking: Asking) -> None:
    data = {"train": asking.rows, "test": asking.rows, "validation": 0.2, "columns": {"text": "text"}}
    body = {"data": data, "budget": "90s", "seed": 3, "settings": {"train.max_length": 64}, "suffix": "x"}
    told = asking.ask("POST", "autos/texts", body).json()
    assert (told["task"], told["model"]) == ("classify", "minilm")
    assert told["command"] == (
        "luthier auto films.csv \\\n  --budget 90s \\\n  --task classify \\\n  --test films.csv \\\n"
        "  --validation 0.2 \\\n  --seed 3 \\\n  --columns text=text \\\n  --set train.max_length=64\n"
    )
    called: dict[str, Any] = {}
    program = told["python"].partition("\nprint")[0].replace("import luthier", "")
    exec(program.replace("found = luthier.auto(", "called.update(data="), {"called": called})
    assert called == {
        "data": "films.csv", "budget": "90s", "task": "classify", "test": "films.csv", "validation": 0.2, "seed": 3,
        "columns": {"text": "text"}, "overrides": ["train.max_length=64"],
    }  # fmt: skip
    assert "/luthier/v1/autos" in told["curl"]
    assert asking.rows in told["curl"]
    assert asking.ask("GET", "autos").json()["data"] == []
