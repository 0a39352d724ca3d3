"""Answers of a job row by row, and jobs beside each other, over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from wire import Wire, class_rows

from luthier.core.predictor import Prediction
from luthier.core.recipe import Recipe
from luthier.data.samples import Sample
from luthier.evaluate.answers_file import AnswersFile, answer_row

ROWS = 60


class Jobs:
    """A server whose jobs ended with the answers that a test gives."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.headers = {"authorization": f"Bearer {wire.key('write')}"}
        self.file = wire.client().files.create(file=("films.csv", class_rows()), purpose="fine-tune").id
        self.made = 0

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        return self.wire.http.request(method, f"/luthier/v1/{path}", json=body, headers=headers or self.headers)

    def start(self, **recipe: Any) -> str:
        self.made += 1
        body = {"recipe": {"data": self.file, "task": "classify", **recipe}, "suffix": f"job{self.made}"}
        return str(self.ask("POST", "jobs", body).json()["id"])

    def finished(self, wrong: set[int], *, answers: bool = True, rows: int = ROWS, **recipe: Any) -> str:
        """A job that answered so many rows, some of them wrongly."""
        job_id = self.start(**recipe)
        self.wire.store.jobs.validated(job_id, {}, [])
        claim = self.wire.queue.claim()
        assert claim is not None
        assert claim.job.id == job_id
        folder = self.wire.settings.home / "made" / job_id
        folder.mkdir(parents=True)
        settled = Recipe.build({**claim.job.recipe, "data": {"train": "films.csv"}})
        cell = {"value": 1 - len(wrong) / rows, "low": 0.1, "high": 0.9}
        report = {
            "task": "classify", "model": "minilm", "method": "full", "labels": ["a", "b"], "several_labels": False,
            "rows": rows, "evaluated_on": "test", "primary_metric": "accuracy", "metrics": {"accuracy": cell},
            "verdict": "Good.", "recipe": settled.to_yaml(), "cost": {"seconds": 1.5, "steps": 3},
        }  # fmt: skip
        (folder / "report.json").write_text(json.dumps(report))
        if answers:
            with AnswersFile(folder / "answers.jsonl") as file:
                for number in range(rows):
                    sample = Sample(f"Text {number}", target="ab"[number % 2], line=number + 1, source="/w/0.csv")
                    label = "ab"[(number + (number in wrong)) % 2]
                    answer = Prediction(label, 0.75, {label: 0.75})
                    file.add(answer_row("classify", False, sample, answer, float(number in wrong)))
        self.wire.artefacts.put_folder(f"reports/{job_id}", folder)
        self.wire.queue.finish(claim, "succeeded", events=[], result={"report": f"reports/{job_id}"})
        return job_id


@pytest.fixture
def jobs(plain_wire: Wire) -> Jobs:
    return Jobs(plain_wire)


def test_answers_are_told_row_by_row(jobs: Jobs) -> None:
    job = jobs.finished({3, 30, 31})
    page = jobs.ask("GET", f"jobs/{job}/answers?limit=2&after=2").json()
    assert (page["answered"], page["total"], page["next"]) == (ROWS, ROWS, 4)
    first, second = page["data"]
    assert first | {"row": 2, "line": 3, "source": "films.csv", "text": "Text 2", "expected": "a", "predicted": "a",
                    "wrong": 0.0, "score": 0.75, "scores": {"a": 0.75}} == first  # fmt: skip
    assert second["wrong"] > 0
    assert "key" not in first
    wrong = jobs.ask("GET", f"jobs/{job}/answers?which=wrong&limit=2").json()
    assert ([row["row"] for row in wrong["data"]], wrong["total"], wrong["next"]) == ([3, 30], 3, 2)
    last = jobs.ask("GET", f"jobs/{job}/answers?which=wrong&limit=2&after=2").json()
    assert ([row["row"] for row in last["data"]], last["next"]) == ([31], None)
    found = jobs.ask("GET", f"jobs/{job}/answers?q=TEXT 5&which=right").json()
    assert [row["row"] for row in found["data"]] == [5, *range(50, 60)]
    assert jobs.ask("GET", f"jobs/{job}/answers?which=some").status_code == 400


def test_a_job_without_answers_says_why(jobs: Jobs) -> None:
    for job, words in ((jobs.finished(set(), answers=False), "no held-out rows"), (jobs.start(), "validating_files")):
        answer = jobs.ask("GET", f"jobs/{job}/answers")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_answers")
        assert words in answer.json()["error"]["message"]


def test_jobs_beside_each_other(jobs: Jobs) -> None:
    good = jobs.finished({0}, train={"epochs": 2, "seed": 1})
    bad = jobs.finished(set(range(20)), train={"epochs": 3, "seed": 1}, method={"kind": "lora", "rank": 4})
    answer = jobs.ask("POST", "compare", {"jobs": [good, bad], "limit": 5})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert [(job["id"], job["name"]) for job in told["jobs"]] == [(good, "job1"), (bad, "job2")]
    assert told["jobs"][0]["metrics"]["accuracy"]["value"] == pytest.approx(59 / 60)
    assert told["metrics"][bad]["accuracy"]["value"] == pytest.approx(40 / 60)
    [pair] = told["comparisons"]
    assert (pair["a"], pair["b"], pair["metric"], pair["verdict"]) == (good, bad, "accuracy", "better")
    assert pair["sentence"].startswith("job1 is better than job2 by 31.7 points (95 % interval ")
    keys = {one["key"]: one["values"] for one in told["recipe"]}
    assert keys["train.epochs"] == [2, 3]
    assert keys["method.kind"] == ["full", "lora"]
    assert keys["method.rank"] == [None, 4]
    assert not {"model", "task", "out", "data.train", "train.seed"} & set(keys)
    assert told["shared_rows"] == ROWS
    assert told["disagreements"]["total"] == 19
    assert [row["line"] for row in told["disagreements"]["data"]] == [2, 3, 4, 5, 6]
    assert told["disagreements"]["data"][0]["source"] == "films.csv"
    assert [one["predicted"] for one in told["disagreements"]["data"][0]["answers"]] == ["b", "a"]
    rest = jobs.ask("POST", "compare", {"jobs": [good, bad], "after": 15, "limit": 100}).json()
    assert (len(rest["disagreements"]["data"]), rest["disagreements"]["next"]) == (4, None)
    assert str(jobs.wire.settings.home) not in answer.text


def test_the_same_comparison_is_made_once(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = [jobs.finished({0}), jobs.finished({1})]
    first = jobs.ask("POST", "compare", {"jobs": pair}).json()
    assert first["comparisons"][0]["verdict"] == "cannot tell them apart"
    monkeypatch.setattr("luthier.server.helpers.asked", None)
    assert jobs.ask("POST", "compare", {"jobs": pair}).json() == first


def test_jobs_of_other_rows_are_shown_without_a_test(jobs: Jobs) -> None:
    told = jobs.ask("POST", "compare", {"jobs": [jobs.finished({0}), jobs.finished({0}, answers=False)]}).json()
    assert (told["comparisons"], told["disagreements"]["total"]) == ([], 0)
    assert "no answers of job2" in told["notes"][0]
    assert len(told["jobs"]) == 2


def test_what_cannot_be_compared_is_refused(jobs: Jobs) -> None:
    done, running = jobs.finished({0}), jobs.start()
    for body, status, param, code in (
        ({"jobs": [done]}, 400, "jobs", "invalid_value"),
        ({"jobs": [done, done]}, 400, "jobs", "same_job"),
        ({"jobs": [done, running]}, 400, "jobs[1]", "job_not_finished"),
        ({"jobs": [done, "ftjob-nothing"]}, 404, "fine_tuning_job_id", "fine_tune_not_found"),
        ({"jobs": [done, "../x"]}, 404, "fine_tuning_job_id", "fine_tune_not_found"),
        ({"jobs": ["x"] * 9}, 400, "jobs", "invalid_value"),
        ({"jobs": [done, running], "limit": 10**6}, 400, "limit", "invalid_value"),
    ):
        answer = jobs.ask("POST", "compare", body)
        assert (answer.status_code, answer.json()["error"]["param"], answer.json()["error"]["code"]) == (
            status, param, code,
        ), body  # fmt: skip


def test_jobs_of_another_project_are_not_found(jobs: Jobs, tmp_path: Path) -> None:
    pair = [jobs.finished({0}), jobs.finished({1})]
    stranger = {"authorization": f"Bearer {jobs.wire.key('write', jobs.wire.store.projects.create('other').id)}"}
    assert jobs.ask("POST", "compare", {"jobs": pair}, **stranger).status_code == 404
    assert jobs.ask("GET", f"jobs/{pair[0]}/answers", **stranger).status_code == 404
