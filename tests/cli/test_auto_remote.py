"""`luthier auto --server` against a small server with the real one's wire."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fake_server import KEY, Asked, FakeServer, error

from luthier.cli import remote_jobs
from luthier.core import clock

AUTO = "auto-1"
HEAD = {"trial": 0, "name": "linear head", "value": 0.8}


class Autos:
    """Automatic runs of a small server: each look lets the next of `steps` happen."""

    def __init__(self, fake: FakeServer) -> None:
        self.fake = fake
        self.steps: list[Any] = []
        self.asked: list[dict[str, Any]] = []
        fake.before = self.answer

    def told(self, **fields: Any) -> dict[str, Any]:
        return self.fake.jobs[AUTO] | fields

    def answer(self, asked: Asked) -> tuple[int, Any, dict[str, str]] | None:
        if asked.headers.get("authorization") != f"Bearer {KEY}":
            return None
        if asked.method == "POST" and asked.path == "/luthier/v1/autos":
            self.asked.append(asked.json)
            self.fake.add_job(
                AUTO, "queued", budget_seconds=float(asked.json["budget"]), candidates=[], best=None, usable=None,
                recipe=None, verdict=None, notes=None, metric=None, higher_is_better=None, metrics=None,
                task="classify",
            )  # fmt: skip
            return 200, self.fake.jobs[AUTO], {}
        if found := re.fullmatch(r"/luthier/v1/autos/([\w-]+)(/cancel)?", asked.path):
            if found[1] not in self.fake.jobs:
                return error(404, "There is no automatic run.", "auto_not_found")
            if found[2]:
                self.fake.jobs[AUTO] |= {"status": "cancelled", "verdict": "Ended early: linear head is kept.",
                                         "fine_tuned_model": "ft:minilm:local::1"}  # fmt: skip
            elif self.steps:
                self.steps.pop(0)()
            return 200, self.fake.jobs[AUTO], {}
        return None

    def candidate(self, number: int, name: str, state: str, value: float | None) -> None:
        about = {"number": number, "name": name, "state": state, "epochs": 3, "epoch": 0 if value is None else 3,
                 "value": value, "seconds": 1.0, "error": "", "metric": "accuracy", "best": 0, "published": 0,
                 "elapsed": 10.0 + number, "higher_is_better": True}  # fmt: skip
        words = f"{name} trains" if value is None else f"{name}: accuracy {100 * value:.1f} % after epoch 3 of 3"
        self.fake.add_event(AUTO, words, part=str(number), about=about)

    def ends(self, status: str = "succeeded", **fields: Any) -> None:
        candidate = {"number": 0, "name": "linear \x1b[31mhead", "state": "complete", "epoch": 1, "epochs": 1,
                     "value": 0.8, "seconds": 1.0, "trainable_parameters": 1540}  # fmt: skip
        self.fake.jobs[AUTO] |= {
            "status": status, "finished_at": 1_700_000_060, "candidates": [candidate], "metric": "accuracy",
            "higher_is_better": True, "verdict": "Linear head won.", "notes": ["A note."], "best": HEAD,
            "recipe": {"task": "classify"}, "metrics": {"accuracy": 0.8}, "fine_tuned_model": "ft:minilm:local::1",
            **fields,
        }  # fmt: skip


@pytest.fixture
def autos(fake: FakeServer) -> Autos:
    return Autos(fake)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "good,a\nbad,b\n" * 20)
    return path


def test_files_and_question_are_sent_and_the_model_comes_last(autos: Autos, luthier: Any, rows: Path) -> None:
    autos.steps = [
        lambda: autos.fake.jobs[AUTO].update(status="running"),
        lambda: autos.candidate(0, "linear head", "running", None),
        lambda: autos.candidate(0, "linear head", "complete", 0.8),
        autos.ends,
    ]  # fmt: skip
    result = luthier(
        "auto", rows, "--server", autos.fake.url, "--budget", "90s", "--task", "classify", "--test", rows, "--seed", 3,
        "--validation", "0.2", "--columns", "text=text", "--set", "train.max_length=64", "--set",
        "train.learning_rate=1e-4", "--suffix", "films",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert autos.asked == [{
        "data": {"train": "file-1", "test": "file-1", "validation": 0.2, "columns": {"text": "text"}}, "budget": 90.0,
        "seed": 3, "task": "classify", "suffix": "films",
        "settings": {"train.max_length": 64, "train.learning_rate": 1e-4},
    }]  # fmt: skip
    assert result.err.count("sending") == 1, "a file is sent once"
    assert f"automatic run {AUTO}" in result.err
    assert "linear head: accuracy 80.0 % after epoch 3 of 3" in result.err
    assert "linear head trains" not in result.err, "as here: a line tells of a result"
    assert "* linear" in result.out
    assert "\x1b" not in result.out
    assert "Linear head won." in result.out
    assert "note: A note." in result.out
    assert f"page: {autos.fake.url}/autos/{AUTO}" in result.out
    assert result.out.splitlines()[-1] == "ft:minilm:local::1"


def test_json_has_the_keys_that_others_rely_on(autos: Autos, luthier: Any, rows: Path) -> None:
    autos.steps = [autos.ends]
    result = luthier("auto", rows, "--server", autos.fake.url, "--json")
    assert result.code == 0, result.err
    told = json.loads(result.out)
    assert told["best"] == {**HEAD, "recipe": {"task": "classify"}, "metrics": {"accuracy": 0.8}}
    assert [one["number"] for one in told["trials"]] == [0]
    assert (told["job"], told["status"], told["model"]) == (AUTO, "succeeded", "ft:minilm:local::1")
    assert autos.asked[0]["budget"] == 600.0


def test_ctrl_c_leaves_it_alone_and_says_how_to_go_on(autos: Autos, luthier: Any, rows: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "sleep", lambda seconds: interrupt())
        result = luthier("auto", rows, "--server", autos.fake.url)
    assert result.code == 1
    assert f"luthier auto --resume {AUTO} --server {autos.fake.url}" in result.err
    assert f"luthier jobs cancel {AUTO} --server {autos.fake.url}" in result.err
    assert autos.fake.jobs[AUTO]["status"] == "queued"
    autos.steps = [autos.ends]
    again = luthier("auto", "--resume", AUTO, "--server", autos.fake.url)
    assert (again.code, len(autos.asked)) == (0, 1)
    assert again.out.splitlines()[-1] == "ft:minilm:local::1"


def test_detached_it_gives_the_id(autos: Autos, luthier: Any, rows: Path) -> None:
    result = luthier("auto", rows, "--server", autos.fake.url, "--detach")
    assert (result.code, result.out) == (0, f"{AUTO}\n")


def test_what_failed_says_why(autos: Autos, luthier: Any, rows: Path) -> None:
    why = {"code": "budget_too_small", "message": "the budget was used up.", "param": None}
    autos.steps = [lambda: autos.ends("failed", error=why, fine_tuned_model=None, best=None, verdict=None)]
    result = luthier("auto", rows, "--server", autos.fake.url)
    assert result.code == 1
    assert "the budget was used up." in result.err
    assert f"luthier jobs events {AUTO}" in result.err
    assert "Traceback" not in result.err


def test_what_was_cancelled_gives_the_best_until_then(autos: Autos, luthier: Any, rows: Path) -> None:
    autos.steps = [lambda: autos.ends("cancelled", verdict="Ended before its time: linear head is kept.")]
    result = luthier("auto", rows, "--server", autos.fake.url)
    assert result.code == 1, "it is not what was asked for"
    assert "Ended before its time: linear head is kept." in result.err
    assert result.out == "ft:minilm:local::1\n"


def test_the_jobs_verb_knows_automatic_runs(autos: Autos, luthier: Any, rows: Path) -> None:
    luthier("auto", rows, "--server", autos.fake.url, "--detach")
    autos.fake.add_event(AUTO, "Created automatic run")
    assert "Created automatic run" in luthier("jobs", "events", AUTO).out
    assert "status:          queued" in luthier("jobs", "show", AUTO).out
    result = luthier("jobs", "cancel", AUTO)
    assert result.out == f"{AUTO}: cancelled\n"
    assert "linear head is kept. ft:minilm:local::1" in result.err


@pytest.mark.parametrize(
    ("words", "says", "code"),
    [
        (["--out", "here"], "--out", 2), (["--resume", AUTO], "--resume", 2), (["--budget", "soon"], "no time", 2),
        (["--set", "train.epochs"], "key.path=value", 2), (["--set", "train.dropout=.nan"], "train.dropout", 2),
        (["--validation", "missing.csv"], "is not there", 2), (["--test", "."], "is a folder", 2),
    ],
)  # fmt: skip
def test_wrong_usage_is_told_before_anything_is_sent(
    autos: Autos, luthier: Any, rows: Path, words: list[str], says: str, code: int
) -> None:
    result = luthier("auto", rows, "--server", autos.fake.url, *words)
    assert (result.code, says in result.err) == (code, True), result.err
    assert autos.fake.files == {}
    assert autos.asked == []


@pytest.mark.parametrize("option", [["--suffix", "x"], ["--detach"]])
def test_options_of_a_server_need_one(autos: Autos, luthier: Any, rows: Path, option: list[str]) -> None:
    result = luthier("auto", rows, *option)
    assert result.code == 2
    assert "--server" in result.err


def test_only_an_automatic_run_is_followed(autos: Autos, luthier: Any) -> None:
    result = luthier("auto", "--resume", "ftjob-1", "--server", autos.fake.url)
    assert result.code == 2
    assert "no automatic run" in result.err
    assert luthier("auto", "--resume", "auto-9", "--server", autos.fake.url).code == 1
    assert remote_jobs.job_path("ftjob-1") == "/v1/fine_tuning/jobs/ftjob-1"
