"""Searches and decisions over HTTP: asked strictly, told while they run, kept apart from trainings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from part_asking import SEARCHED, Asking
from wire import Wire

from luthier.core.recipe import Recipe

INTERVAL = {"value": 0.8, "low": 0.7, "high": 0.9}


@pytest.fixture
def asking(plain_wire: Wire) -> Asking:
    return Asking(plain_wire)


def trial(number: int, state: str, value: float | None, **more: Any) -> dict[str, Any]:
    return {
        "number": number, "state": state, "params": {"train.learning_rate": 0.001, "method.rank": 4}, "epochs": 3,
        "epoch": 1, "value": value, "seconds": 1.0, "error": "", "is_best": value is not None, "metric": "accuracy",
        **more,
    }  # fmt: skip


def test_a_search_is_a_job_of_its_own_kind(asking: Asking) -> None:
    answer = asking.search(search={"trials": 5, "budget": "10m", "pruner": "none"})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["id"].startswith("search-")
    assert (told["status"], told["task"], told["model"]) == ("validating_files", "classify", "minilm")
    assert (told["settings"]["trials"], told["settings"]["budget"]) == (5, 600.0)
    assert [(one["name"], one["choices"], one["low"], one["log"]) for one in told["parameters"]] == [
        ("method.rank", [4, 8], None, False), ("train.learning_rate", None, 1e-4, True),
    ]  # fmt: skip
    assert (told["best"], told["importance"], told["done"]) == (None, None, 0)
    assert [one["id"] for one in asking.ask("GET", "searches").json()["data"]] == [told["id"]]
    assert asking.ask("GET", f"searches/{told['id']}").json() == told
    assert asking.ask("GET", "jobs").json()["data"] == []
    assert asking.wire.client().fine_tuning.jobs.list().data == []
    for path in (f"jobs/{told['id']}", f"jobs/{told['id']}/metrics", f"decisions/{told['id']}"):
        assert asking.ask("GET", path).status_code == 404
    events = asking.wire.client().fine_tuning.jobs.list_events(told["id"])
    assert [event.message for event in events][-1] == f"Created search: {told['id']}"


def test_trials_are_told_while_they_run_and_when_the_search_is_over(asking: Asking) -> None:
    search = asking.search().json()["id"]
    claim = asking.claim(search)
    asking.tell(claim, "0", "running:0", trial(0, "running", None), 0)
    asking.tell(claim, "0", "paused:1", trial(0, "paused", 0.7), 1)
    asking.tell(claim, "1", "failed:0", trial(1, "failed", None, error="diverged"), 2)
    listed = asking.ask("GET", f"searches/{search}/trials").json()
    assert [(one["number"], one["state"], one["value"]) for one in listed["data"]] == [
        (0, "paused", 0.7), (1, "failed", None),
    ]  # fmt: skip
    assert listed["data"][1]["error"] == "diverged"
    page = asking.ask("GET", f"searches/{search}/trials?limit=1").json()
    assert (len(page["data"]), page["total"], page["next"]) == (1, 2, 1)
    told = asking.ask("GET", f"searches/{search}").json()
    assert (told["done"], told["total"], told["metric"]) == (2, 4, "accuracy")
    assert told["best"] == {"trial": 0, "params": trial(0, "", None)["params"], "value": 0.7}
    assert asking.ask("GET", f"searches/{search}/page").json()["error"]["code"] == "no_page"
    whole = {**trial(0, "complete", 0.9), "curve": [[1, 0.7], [2, 0.9]], "pareto": True, "loss": 0.2}
    report = {
        "trials": [whole], "importance": {"values": {}}, "pareto": {"objectives": ["quality"], "trials": []},
        "luck": None, "rungs": [], "counts": {"all": 1}, "seconds": 3.0, "notes": [], "metric": "accuracy",
        "metric_title": "Accuracy", "higher_is_better": True,
    }  # fmt: skip
    asking.finish(claim, search_json=report, search_html="<p>")
    told = asking.ask("GET", f"searches/{search}").json()
    assert (told["status"], told["verdict"], told["counts"]) == ("succeeded", "Good.", {"all": 1})
    [last] = asking.ask("GET", f"searches/{search}/trials").json()["data"]
    assert (last["state"], last["curve"], last["pareto"], last["loss"]) == ("complete", [[1, 0.7], [2, 0.9]], True, 0.2)
    page = asking.ask("GET", f"searches/{search}/page")
    assert page.headers["content-disposition"].startswith("attachment;")


def test_a_trial_becomes_a_training(asking: Asking) -> None:
    search = asking.search(train={**SEARCHED["train"], "seed": 9}).json()["id"]
    claim = asking.claim(search)
    asking.tell(claim, "0", "paused:1", trial(0, "paused", 0.7), 1)
    answer = asking.ask("POST", f"searches/{search}/trials/0/promote", {"suffix": "best"})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["id"].startswith("ftjob-")
    recipe = Recipe.build(told["recipe"])
    assert (recipe.train.learning_rate, recipe.method.rank, recipe.train.epochs) == (0.001, 4, 3)  # type: ignore[union-attr]
    assert (recipe.data.split_seed, recipe.data.train) == (9, asking.rows)
    assert asking.ask("POST", f"searches/{search}/trials/0/promote", {"suffix": "best"}).json()["id"] == told["id"]
    missing = asking.ask("POST", f"searches/{search}/trials/7/promote", {})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "trial_not_found")


@pytest.mark.parametrize(
    ("recipe", "param"),
    [
        ({"train": {"epochs": 2}, "method": "lora"}, "recipe"),
        ({"train": {"epochs": {"search": [1, 10**6]}}}, "recipe.train.epochs"),
        ({"train": {"learning_rate": {"search": []}}}, "recipe.train.learning_rate"),
        ({"search": {"trials": 10**6}}, "recipe.search.trials"),
        ({"search": {"trails": 5}}, "recipe.search.trails"),
        ({"search": {"workers": 100}}, "recipe.search.workers"),
        ({"search": {"workers": "auto"}}, "recipe.search.workers"),
        ({"search": 5}, "recipe.search"),
        ({"search": {"objectives": ["quality", "forgetting"]}}, "recipe.search.objectives"),
        ({"data": {"train": "/etc/passwd"}}, "recipe.data.train"),
        ({"data": {"train": {"search": ["a", "b"]}}}, "recipe.data.train"),
        ({"model": {"search": ["minilm", "luthier-nano"]}}, "recipe.model"),
        ({"evaluate": {"run_code": True}}, "recipe.evaluate.run_code"),
        ({"out": "/tmp/x"}, "recipe.out"),
    ],
    ids=str,
)
def test_a_search_that_reaches_too_far_is_refused(asking: Asking, recipe: dict[str, Any], param: str) -> None:
    answer = asking.search(**recipe)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param, answer.text
    assert asking.ask("GET", "searches").json()["data"] == []


def test_parts_are_cancelled_paused_and_resumed(asking: Asking) -> None:
    for kind, made in (("searches", asking.search()), ("decisions", asking.decide()), ("autos", asking.auto())):
        id = made.json()["id"]
        assert asking.ask("POST", f"{kind}/{id}/pause").json()["status"] == "paused"
        assert asking.ask("POST", f"{kind}/{id}/resume").json()["status"] == "validating_files"
        assert asking.ask("POST", f"{kind}/{id}/cancel").json()["status"] == "cancelled"
        late = asking.ask("POST", f"{kind}/{id}/pause")
        assert (late.status_code, late.json()["error"]["code"]) == (409, "job_status")
        stranger = {"authorization": f"Bearer {asking.wire.key('write', asking.wire.store.projects.create(kind).id)}"}
        assert asking.ask("GET", f"{kind}/{id}", **stranger).status_code == 404
        assert asking.ask("GET", kind, **stranger).json()["data"] == []


def arm(name: str, **more: Any) -> dict[str, Any]:
    cost = {"build_seconds": 1.0, "build": 0.1, "per_1000": 0.2, "prompt_tokens": 0, "completion_tokens": 0}
    return {
        "name": name, "family": "baseline", "detail": "", "state": "measured", "why": "", "rows": 3,
        "metrics": {"accuracy": INTERVAL}, "cost": cost, "latency_ms": 1.0, "changes": None, "metric": "accuracy",
        **more,
    }  # fmt: skip


def test_a_decision_is_told_arm_by_arm_and_row_by_row(asking: Asking) -> None:
    body = {"data": {"train": asking.rows, "knowledge": [asking.guide]}, "settings": {"train.epochs": 2},
            "arms": ["majority"], "budget_seconds": 60, "prices": {"hour": 1}, "suffix": "films"}  # fmt: skip
    answer = asking.ask("POST", "decisions", body)
    assert answer.status_code == 200, answer.text
    made = answer.json()
    assert made["id"].startswith("decision-")
    assert (made["task"], made["model"], made["arms"], made["verdict"]) == ("classify", "minilm", [], None)
    assert made["request"]["overrides"] == ["train.epochs=2"]
    assert asking.ask("GET", f"decisions/{made['id']}/answers").json()["error"]["code"] == "no_answers"
    claim = asking.claim(made["id"])
    asking.tell(claim, "majority", "measured", arm("majority"), 1)
    told = asking.ask("GET", f"decisions/{made['id']}").json()
    assert [one["name"] for one in told["arms"]] == ["majority"]
    assert told["picture"] == [{"arm": "majority", "family": "baseline", "cost": 0.2, "latency_ms": 1.0, **INTERVAL}]
    verdict = {"arm": "majority", "best": "majority", "ties": [], "text": "Take majority.", "flips": []}
    report = {
        "arms": [{**arm("majority"), "run": None}], "verdict": verdict, "metric": "accuracy", "rows": {"held_out": 3},
        "prices": {"hour": 1, "prompt": None, "completion": None}, "notes": [], "seconds": 2.0,
    }  # fmt: skip
    lines = [
        {"row": n, "key": "x", "line": n + 1, "source": "0.csv", "text": f"Text {n}", "expected": "a",
         "answers": {"majority": {"predicted": "a", "wrong": 0.0}, "tfidf": {"predicted": "ab"[n % 2], "wrong": n % 2,
                                                                             "score": 0.5}}}
        for n in range(3)
    ]  # fmt: skip
    asking.finish(claim, decision_json=report, decision_html="<p>", answers_jsonl="".join(map(_line, lines)))
    told = asking.ask("GET", f"decisions/{made['id']}").json()
    assert (told["verdict_details"], told["rows"], told["seconds"]) == (verdict, {"held_out": 3}, 2.0)
    assert set(told["arms"][0]) == {"name", "family", "detail", "state", "why", "rows", "metrics", "cost",
                                    "latency_ms", "changes"}  # fmt: skip
    rows = asking.ask("GET", f"decisions/{made['id']}/answers?limit=2").json()
    assert (rows["total"], rows["next"]) == (3, 2)
    assert rows["data"][1]["answers"] == [
        {"arm": "majority", "predicted": "a", "wrong": 0.0},
        {"arm": "tfidf", "predicted": "b", "wrong": 1, "score": 0.5},
    ]
    assert rows["data"][0]["source"] == "films.csv"
    assert "key" not in rows["data"][0]
    differing = asking.ask("GET", f"decisions/{made['id']}/answers?differing=true").json()
    assert [row["row"] for row in differing["data"]] == [1]
    assert asking.ask("GET", f"decisions/{made['id']}/answers?q=TEXT 2").json()["total"] == 1
    page = asking.ask("GET", f"decisions/{made['id']}/page")
    assert page.headers["content-disposition"].startswith("attachment;")


def _line(value: Any) -> str:
    return json.dumps(value) + "\n"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "gpt-4o"}, 404, "model"),
        ({"model": "luthier-nano"}, 400, "model"),
        ({"generator": "minilm"}, 400, "generator"),
        ({"budget_seconds": 1}, 400, "budget_seconds"),
        ({"settings": {"out": "/tmp"}}, 400, "settings"),
        ({"settings": {"train.epochs": 10**6}}, 400, "settings"),
        ({"settings": {"train.epoch": 1}}, 400, "settings"),
        ({"endpoint": "http://169.254.169.254/"}, 400, "endpoint"),
        ({"assistant": "/etc/passwd"}, 400, "assistant"),
        ({"assistant": "nobody"}, 404, "assistant"),
        ({"data": {"train": "/etc/passwd"}}, 404, "data.train"),
        ({"data": {}}, 400, "data.train"),
    ],
    ids=str,
)
def test_a_decision_that_reaches_too_far_is_refused(
    asking: Asking, body: dict[str, Any], status: int, param: str
) -> None:
    answer = asking.decide(**body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text
    assert asking.ask("GET", "decisions").json()["data"] == []


def test_knowledge_and_rows_are_the_jobs_files(asking: Asking) -> None:
    from luthier.jobs.recipes import file_ids, with_paths

    made = asking.decide(data={"train": [asking.rows], "test": asking.rows, "knowledge": [asking.guide]}).json()
    job = asking.wire.store.jobs.find(made["id"])
    assert file_ids(job.recipe) == [asking.rows, asking.guide]
    placed = with_paths(job.recipe, {asking.rows: Path("/w/0.csv"), asking.guide: Path("/w/1.md")})
    assert placed["data"]["knowledge"] == ["/w/1.md"]
    assert placed["data"]["train"] == ["/w/0.csv"]
