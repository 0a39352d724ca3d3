"""Jobs as recipes, their reports, and the data check, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai.types.fine_tuning import FineTuningJob
from wire import Wire, chat_rows, class_rows, strictly

from luthier.core.recipe import Recipe
from luthier.jobs.data_check import run_check
from luthier.server import data_children


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with Wire(tmp_path).running() as it:
        yield it


class Sender:
    """Asks with one key."""

    def __init__(self, wire: Wire, **key: Any) -> None:
        self.http = wire.http
        self.headers = {"authorization": f"Bearer {wire.key(**key)}"}

    def get(self, path: str) -> Any:
        return self.http.get(path, headers=self.headers)

    def post(self, path: str, body: Any, **headers: str) -> Any:
        return self.http.post(path, json=body, headers=self.headers | headers)

    def job(self, recipe: dict[str, Any], **rest: Any) -> Any:
        return self.post("/luthier/v1/jobs", {"recipe": recipe, **rest})


@pytest.fixture
def sender(wire: Wire) -> Sender:
    return Sender(wire)


@pytest.fixture
def labels(wire: Wire) -> str:
    return wire.client().files.create(file=("rows.csv", class_rows()), purpose="user_data").id


@pytest.fixture
def chats(wire: Wire) -> str:
    return wire.client().files.create(file=("rows.jsonl", chat_rows()), purpose="fine-tune").id


def test_a_recipe_becomes_a_job(wire: Wire, sender: Sender, labels: str) -> None:
    recipe = {
        "model": "minilm", "task": "classify", "data": {"train": labels, "validation": 0.2, "test": [labels]},
        "method": {"kind": "lora", "rank": 8}, "train": {"epochs": 2, "seed": 5},
    }  # fmt: skip
    answer = sender.job(recipe, suffix="stars", metadata={"team": "a"})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["kind"], told["task"], told["base_model"], told["seed"]) == ("recipe", "classify", "minilm", 5)
    assert (told["training_file"], told["validation_file"]) == (labels, None)
    assert told["hyperparameters"]["n_epochs"] == 2
    assert told["recipe"]["method"]["rank"] == 8
    assert told["recipe"]["data"] | {"train": labels, "test": [labels], "validation": 0.2} == told["recipe"]["data"]
    assert "out" not in told["recipe"]
    Recipe.build(told["recipe"])
    seen = wire.client().fine_tuning.jobs.retrieve(told["id"])
    strictly(FineTuningJob, seen)
    assert [job.id for job in wire.client().fine_tuning.jobs.list()] == [told["id"]]
    assert sender.get(f"/luthier/v1/jobs/{told['id']}").json() == told
    listed = sender.get("/luthier/v1/jobs?metadata[team]=a").json()
    assert listed["data"] == [told]
    assert listed["has_more"] is False


def test_short_forms_and_what_is_left_open(sender: Sender, labels: str, chats: str) -> None:
    for source, task, base in ((labels, "classify", "minilm"), (chats, "chat", "luthier-nano")):
        told = sender.job({"data": source, "method": "lora"}).json()
        assert (told["task"], told["base_model"], told["model"]) == (task, base, base)


def test_the_columns_say_what_the_task_is(wire: Wire, sender: Sender) -> None:
    rows = b"review;stars\n" + b"good;1.5\nbad;0.25\n" * 6
    file = wire.client().files.create(file=("r.csv", rows), purpose="user_data").id
    assert sender.job({"data": {"train": file}}).json()["error"]["param"] == "recipe.task"
    told = sender.job({"data": {"train": file, "columns": {"text": "review", "score": "stars"}}}).json()
    assert told["task"] == "regress"


def test_a_list_as_json_is_read_by_the_ending_of_its_name(wire: Wire, sender: Sender) -> None:
    rows = json.dumps([{"text": f"row {i}", "label": "ab"[i % 2]} for i in range(12)]).encode()
    file = wire.client().files.create(file=("rows.json", rows), purpose="user_data").id
    assert sender.job({"data": file}).json()["task"] == "classify"
    assert not list((wire.settings.home / "work").iterdir())


def test_the_same_recipe_makes_one_job(sender: Sender, chats: str) -> None:
    recipe = {"data": chats, "task": "chat"}
    first = sender.job(recipe).json()
    assert sender.job(recipe).json() == first
    assert sender.job(recipe, suffix="x").json()["id"] != first["id"]
    keyed = [
        sender.post("/luthier/v1/jobs", {"recipe": recipe}, **{"Idempotency-Key": "k"}).json()["id"] for _ in range(2)
    ]
    assert keyed[0] == keyed[1] != first["id"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"out": "/tmp/x"}, "recipe.out"),
        ({"data": {"train": "/etc/passwd"}}, "recipe.data.train"),
        ({"data": {"train": "https://example.org/x.csv"}}, "recipe.data.train"),
        ({"data": {"train": "s3://bucket/x"}}, "recipe.data.train"),
        ({"data": {"train": "file-../../x"}}, "recipe.data.train"),
        ({"data": {"train": []}}, "recipe.data.train"),
        ({"data": {"train": ["rows.csv"]}}, "recipe.data.train"),
        ({"data": {"validation": "valid.csv"}}, "recipe.data.validation"),
        ({"data": {"test": ["*"]}}, "recipe.data.test"),
        ({"data": {"replay": "/etc/passwd"}}, "recipe.data.replay"),
        ({"evaluate": {"forgetting": {"anchors": "/etc/passwd"}}}, "recipe.evaluate.forgetting"),
        ({"data": {"template": "{{ x }}"}}, "recipe.data.template"),
        ({"data": {"labels": 1}}, "recipe.data.labels"),
        ({"data": {"columns": {"text": "x" * 1001}}}, "recipe"),
        ({"evaluate": {"run_code": True}}, "recipe.evaluate.run_code"),
        ({"evaluate": {"graders": [{"type": "python", "name": "p", "source": "x"}]}}, "recipe.evaluate.graders[0]"),
        (
            {"evaluate": {"graders": [{"type": "multi", "graders": {"a": {"type": "python"}}}]}},
            "recipe.evaluate.graders[0].graders.a",
        ),
        (
            {"evaluate": {"graders": [{"type": "multi", "graders": {"type": "python", "name": "p"}}]}},
            "recipe.evaluate.graders[0].graders",
        ),
        (
            {"evaluate": {"graders": [{"type": "score_model", "model": "/models/x"}]}},
            "recipe.evaluate.graders[0].model",
        ),
        ({"evaluate": {"bootstrap": 10**9}}, "recipe.evaluate.bootstrap"),
        ({"task": "sing"}, "recipe.task"),
        ({"task": "classify"}, "recipe.task"),
        ({"method": {"kind": "lora", "rank": 4096}}, "recipe.method.rank"),
        ({"method": {"kind": "magic"}}, "recipe.method"),
        ({"train": {"epochs": 100_000}}, "recipe.train.epochs"),
        ({"train": {"seed": 2**40}}, "recipe.train.seed"),
        ({"trains": {}}, "recipe.trains"),
    ],
    ids=str,
)
def test_what_reaches_too_far_is_refused(shared: Wire, change: dict[str, Any], param: str) -> None:
    chats = shared.client().files.create(file=("rows.jsonl", chat_rows()), purpose="fine-tune").id
    recipe: dict[str, Any] = {"task": "chat", "model": "luthier-nano", "data": {"train": chats}}
    for key, value in change.items():
        recipe[key] = {**recipe[key], **value} if key == "data" else value
    answer = Sender(shared).job(recipe)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param, answer.text
    assert shared.store.jobs.list(shared.project).items == []


def test_names_of_others_are_not_found(wire: Wire, sender: Sender, chats: str) -> None:
    stranger = Sender(wire, project=wire.store.projects.create("other").id)
    own = wire.stranger()
    assert own
    for recipe in (
        {"data": chats},
        {"data": {"train": "file-" + "0" * 24}},
        {"data": {"train": chats, "test": chats}},
    ):
        answer = stranger.job(recipe)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "file_not_found"
    for model in ("/etc", "org/name", "gpt-4o", "../luthier-nano"):
        answer = sender.job({"data": chats, "model": model})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    job = sender.job({"data": chats}).json()["id"]
    for path in ("", "/report.json", "/report.html"):
        answers = [stranger.get(f"/luthier/v1/jobs/{id}{path}") for id in (job, "ftjob-" + "0" * 24)]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert answers[0].text.replace(job, "X") == answers[1].text.replace("ftjob-" + "0" * 24, "X")


def test_a_report_is_given_when_there_is_one(wire: Wire, sender: Sender, chats: str) -> None:
    job = sender.job({"data": chats}).json()["id"]
    missing = sender.get(f"/luthier/v1/jobs/{job}/report.json")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "no_report")
    wire.store.jobs.validated(job, {}, [])
    claim = wire.queue.claim()
    assert claim is not None
    folder = wire.settings.home / "made"
    folder.mkdir()
    (folder / "report.json").write_text('{"metrics": {"loss": {"value": 1.5}}}')
    (folder / "report.html").write_text("<script>alert(1)</script>")
    wire.artefacts.put_folder(f"reports/{job}", folder)
    result = {"report": f"reports/{job}", "metrics": {"loss": 1.5}, "warnings": ["few rows"], "verdict": "better"}
    wire.queue.finish(claim, "succeeded", events=[], result=result)
    assert sender.get(f"/luthier/v1/jobs/{job}/report.json").json() == {"metrics": {"loss": {"value": 1.5}}}
    page = sender.get(f"/luthier/v1/jobs/{job}/report.html")
    assert page.text == "<script>alert(1)</script>"
    assert page.headers["content-type"] == "application/octet-stream"
    assert page.headers["content-disposition"].startswith("attachment;")
    assert page.headers["x-content-type-options"] == "nosniff"
    told = sender.get(f"/luthier/v1/jobs/{job}").json()
    assert (told["metrics"], told["warnings"]) == ({"loss": 1.5}, ["few rows"])


@pytest.mark.slow  # the checking process loads a tokenizer, and with it torch
def test_a_check_says_what_the_command_line_says(wire: Wire, sender: Sender) -> None:
    rows = b"text,label\ngood,a\nbad,b\n,a\ngood,a\n"
    file = wire.client().files.create(file=("rows.csv", rows), purpose="user_data").id
    answer = sender.post("/luthier/v1/check", {"file": file, "task": "classify"})
    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert (report["ok"], report["task"], report["rows"]) == (False, "classify", 4)
    assert {"empty_text", "duplicate"} & {finding["code"] for finding in report["findings"]}
    assert next(finding for finding in report["findings"] if finding["code"] == "empty_text")["line"] == 4
    assert report["stats"]["findings"]["total"] >= 2
    assert str(wire.settings.home) not in answer.text
    assert not list((wire.settings.home / "work").iterdir())


def test_a_file_that_cannot_be_read_is_one_finding(tmp_path: Path) -> None:
    path = tmp_path / "0.csv"
    path.write_bytes(b"\xff\xfe\x00\x01" * 9)
    report = run_check({"data": str(path), "task": "auto", "names": {str(path): "rows.csv"}})["report"]
    assert (report["ok"], report["rows"], len(report["findings"])) == (False, 0, 1)
    assert report["findings"][0]["source"] == "rows.csv"


def test_a_check_asks_for_what_the_caller_has(wire: Wire, sender: Sender, chats: str) -> None:
    stranger = Sender(wire, project=wire.store.projects.create("other").id)
    for body in ({"file": chats}, {"file": "file-" + "0" * 24}, {"file": "../x"}, {"file": [chats]}):
        answer = stranger.post("/luthier/v1/check", body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "file_not_found")
    assert sender.post("/luthier/v1/check", {"file": chats, "model": "/etc"}).status_code == 404
    for body in ({}, {"file": chats, "task": "sing"}, {"file": 1}, {"file": chats, "max_length": 1}, {"fil": chats}):
        assert sender.post("/luthier/v1/check", body).status_code == 400


def test_a_check_that_takes_too_long_is_ended(
    wire: Wire, sender: Sender, chats: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_children, "LONGEST_SECONDS", 0.05)
    answer = sender.post("/luthier/v1/check", {"file": chats})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "check_timeout")
    assert not list((wire.settings.home / "work").iterdir())
