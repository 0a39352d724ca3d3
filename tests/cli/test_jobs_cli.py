"""`luthier jobs` and `luthier train --server` against a small server with the real one's wire."""

from __future__ import annotations

import json
import signal

import pytest
from fake_server import RESULT_CSV

from luthier.cli import remote_jobs
from luthier.core import clock


def lines(text):
    return [line for line in text.splitlines() if line]


def test_the_list_is_a_table_newest_first(fake, luthier):
    for number in range(7):
        fake.add_job(f"ftjob-{number}", "succeeded", fine_tuned_model=f"ft:luthier-nano:local::{number}")
    result = luthier("jobs")
    assert result.code == 0
    assert [line.split()[0] for line in lines(result.out)] == ["job", *(f"ftjob-{n}" for n in range(6, -1, -1))]
    assert "ft:luthier-nano:local::6" in result.out
    found = json.loads(luthier("jobs", "list", "--limit", 4, "--json").out)
    assert [job["id"] for job in found["jobs"]] == ["ftjob-6", "ftjob-5", "ftjob-4", "ftjob-3"]
    assert luthier("jobs", "list", "--limit", 0).code == 2


def test_an_empty_list_says_how_to_begin(fake, luthier):
    result = luthier("jobs", "list")
    assert (result.code, result.out) == (0, "")
    assert "luthier train --data train.csv --server" in result.err


def test_one_job_in_full(fake, luthier):
    fake.add_job("ftjob-1", "failed", error={"code": "x", "message": "Line 3: \x1b[31mbad", "param": None})
    result = luthier("jobs", "show", "ftjob-1")
    assert "status:          failed" in result.out
    assert "hyperparameters: n_epochs 3" in result.out
    assert "Line 3:" in result.out
    assert "\x1b" not in result.out
    assert json.loads(luthier("jobs", "show", "ftjob-1", "--json").out) == fake.jobs["ftjob-1"]


def test_unknown_jobs_and_wrong_keys_are_told(fake, luthier, monkeypatch):
    result = luthier("jobs", "show", "ftjob-9")
    assert result.code == 1
    assert "There is no ftjob-9. luthier jobs list shows" in result.err
    monkeypatch.setenv("LUTHIER_API_KEY", "lu-wrong")
    result = luthier("jobs")
    assert result.code == 1
    assert "Incorrect API key" in result.err
    assert "lu-wrong" not in result.err


def test_ids_cannot_lead_to_other_addresses(fake, luthier):
    luthier("jobs", "show", "../../files?x=1#y")
    assert fake.asked[-1].path == "/luthier/v1/jobs/..%2F..%2Ffiles%3Fx%3D1%23y"


@pytest.mark.parametrize(("verb", "status"), [("cancel", "cancelled"), ("pause", "paused"), ("resume", "queued")])
def test_changes(fake, luthier, verb, status):
    fake.add_job("ftjob-1", "running")
    result = luthier("jobs", verb, "ftjob-1")
    assert (result.code, result.out) == (0, f"ftjob-1: {status}\n")
    assert fake.asked[-1].path.endswith(f"/ftjob-1/{verb}")
    fake.jobs["ftjob-1"]["status"] = "succeeded"
    result = luthier("jobs", verb, "ftjob-1")
    assert result.code == 1
    assert "The job is succeeded." in result.err


def test_events_oldest_first_over_pages(fake, luthier):
    fake.add_job("ftjob-1")
    for number in range(8):
        fake.add_event("ftjob-1", f"message {number}", "warn" if number == 2 else "info")
    found = lines(luthier("jobs", "events", "ftjob-1").out)
    assert [line.split("message ")[1] for line in found] == [str(n) for n in range(8)]
    assert "warn: message 2" in found[2]
    whole = json.loads(luthier("jobs", "events", "ftjob-1", "--json").out)
    assert whole["events"] == fake.events["ftjob-1"]


def working(fake, job, steps, end="succeeded", **fields):
    """Let the job make a few events between two requests, and end after so many of them."""
    state = {"requests": 0, "step": 0}

    def before(asked):
        state["requests"] += 1
        if job not in fake.jobs or fake.jobs[job]["status"] in remote_jobs.TERMINAL or state["requests"] % 2:
            return None
        for _ in range(4):
            state["step"] += 1
            fake.add_event(job, f"Step {state['step']}", step=state["step"], total_steps=steps, train_loss=1.0)
        if state["step"] >= steps:
            fake.jobs[job] |= {"status": end, **fields}
        return None

    fake.before = before


def test_following_shows_each_event_once_and_all_of_them(fake, luthier):
    fake.add_job("ftjob-1")
    working(fake, "ftjob-1", 40)
    result = luthier("jobs", "events", "ftjob-1", "--follow", "--json")
    assert result.code == 0
    found = [json.loads(line)["message"] for line in lines(result.out)]
    assert found == [f"Step {n}" for n in range(1, 41)]


def test_following_survives_a_restart_of_the_server(fake, luthier, monkeypatch):
    fake.add_job("ftjob-1")
    working(fake, "ftjob-1", 20)
    inner, count = fake.before, iter(range(1000))

    def before(asked):
        return (0, b"", {}) if 5 <= next(count) < 15 else inner(asked)

    fake.before = before
    result = luthier("jobs", "events", "ftjob-1", "--follow")
    assert result.code == 0
    assert [line.rsplit(" ", 1)[1] for line in lines(result.out)] == [str(n) for n in range(1, 21)]
    assert "Waiting for it; the job is not lost." in result.err


def test_a_server_that_stays_away_ends_the_watch(fake, luthier, monkeypatch):
    fake.add_job("ftjob-1")
    fake.before = lambda asked: (0, b"", {})
    times = iter(range(0, 100_000, 100))
    monkeypatch.setattr(clock, "monotonic", lambda: float(next(times)))
    result = luthier("jobs", "events", "ftjob-1", "--follow")
    assert result.code == 1
    assert "stopped answering" in result.err


def test_following_a_job_that_fails_gives_its_error(fake, luthier):
    fake.add_job("ftjob-1")
    failure = {"code": "nonfinite_loss", "message": "The loss is NaN.", "param": None}
    working(fake, "ftjob-1", 4, "failed", error=failure)
    result = luthier("jobs", "events", "ftjob-1", "--follow")
    assert result.code == 1
    assert "The loss is NaN." in result.err


def test_results_are_written_under_safe_names(fake, luthier, here):
    fake.add_job("ftjob-1", "succeeded", result_files=["file-result"], fine_tuned_model="ft:a")
    result = luthier("jobs", "result", "ftjob-1", "--out", here / "out")
    assert result.code == 0
    files = [str(here / "out" / name) for name in ("file-result.csv", "ftjob-1-report.html")]
    assert lines(result.out) == [*files, "ft:a"]
    assert (here / "out" / "file-result.csv").read_bytes() == RESULT_CSV
    fake.jobs["ftjob-1"]["result_files"] = ["../../x"]
    assert luthier("jobs", "result", "ftjob-1").code == 1
    assert not list(here.parent.glob("x*"))


def test_a_job_that_is_not_over_has_no_result(fake, luthier):
    fake.add_job("ftjob-1", "running")
    result = luthier("jobs", "result", "ftjob-1")
    assert result.code == 2
    assert "the job is running" in result.err


@pytest.fixture
def recipe(here):
    (here / "train.csv").write_text("text,label\na,b\n", encoding="utf-8")
    (here / "test.jsonl").write_text('{"text": "a", "label": "b"}\n', encoding="utf-8")
    path = here / "recipe.yaml"
    path.write_text(
        "model: minilm\ntask: classify\ndata: {train: train.csv, validation: 0.2, test: [test.jsonl, train.csv]}\n"
        "method: {kind: lora, rank: 8}\nout: elsewhere\n",
        encoding="utf-8",
    )
    return path


def test_train_sends_each_file_once_and_the_recipe_with_ids(fake, luthier, recipe):
    working(fake, "ftjob-new", 8, fine_tuned_model="ft:minilm:local:word:12345678", finished_at=1_700_000_060)
    result = luthier("train", recipe, "--server", fake.url, "--suffix", "word", "--set", "train.epochs=2")
    assert result.code == 0, result.err
    assert lines(result.out) == ["ft:minilm:local:word:12345678"]
    assert len(fake.files) == 2
    body = next(asked.json for asked in fake.asked if asked.path == "/luthier/v1/jobs")
    assert body == {
        "suffix": "word",
        "recipe": {
            "model": "minilm",
            "task": "classify",
            "data": {"train": "file-1", "validation": 0.2, "test": ["file-2", "file-1"]},
            "method": {"kind": "lora", "rank": 8, "alpha": 32.0, "dropout": 0.0, "targets": "all-linear", "dora": False,
                       "rslora": False},
            "train": {"epochs": 2},
        },
    }  # fmt: skip
    assert b"a,b" in fake.files["file-1"]


def test_train_json_and_detach(fake, luthier, recipe):
    result = luthier("train", recipe, "--server", fake.url, "--detach")
    assert (result.code, result.out) == (0, "ftjob-new\n")
    working(fake, "ftjob-new", 4, fine_tuned_model="ft:x", finished_at=1_700_000_060)
    result = luthier("train", recipe, "--server", fake.url, "--json")
    assert json.loads(result.out) == {
        "job": "ftjob-new", "status": "succeeded", "model": "ft:x", "metrics": {}, "seconds": 60,
    }  # fmt: skip


def test_train_that_fails_there_fails_here(fake, luthier, recipe):
    failure = {"code": "invalid_training_file", "message": "Line 1: no.", "param": "training_file"}
    working(fake, "ftjob-new", 4, "failed", error=failure)
    result = luthier("train", recipe, "--server", fake.url)
    assert (result.code, result.out) == (1, "")
    assert "Line 1: no." in result.err


def test_control_c_leaves_the_job_and_says_how_to_go_on(fake, luthier, recipe, monkeypatch):
    def interrupted(seconds):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(clock, "sleep", interrupted)
    result = luthier("train", recipe, "--server", fake.url)
    assert (result.code, result.out) == (1, "")
    assert f"luthier jobs events ftjob-new --follow --server {fake.url}" in result.err
    assert not any("cancel" in asked.path for asked in fake.asked)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--data", "https://example.org/x.csv"], "fetches nothing"),
        (["--data", "nothing.csv"], "is not there"),
        (["--data", "."], "is a folder"),
        (["--data", "file-0123"], "id of a file"),
        (["--data", "train.csv", "--set", "data.template=t.jinja"], "no chat template"),
        (["--data", "train.csv", "--out", "here"], "--out does not fit"),
        (["--resume", "run"], "--resume does not fit"),
    ],
)
def test_what_cannot_be_sent_is_told_before_anything_is(fake, luthier, recipe, words, told):
    result = luthier("train", *words, "--server", fake.url)
    assert result.code == 2
    assert told in result.err
    assert fake.asked == []


def test_globs_are_sent_as_their_files(fake, luthier, recipe, here):
    (here / "test.csv").write_text("text,label\nc,d\n", encoding="utf-8")
    luthier("train", "--data", "t*.csv", "--server", fake.url, "--detach")
    assert fake.asked[-1].json["recipe"]["data"]["train"] == ["file-1", "file-2"]


def test_options_of_a_server_need_one(luthier, recipe):
    assert luthier("train", recipe, "--detach").code == 2
    assert luthier("train", recipe, "--key-file", "x").code == 2


def test_keys_are_not_made_where_no_server_is(luthier, tmp_path, monkeypatch):
    monkeypatch.delenv("LUTHIER_SERVER", raising=False)
    result = luthier("keys", "create", "--home", str(tmp_path / "none"))
    assert result.code == 2
    assert "no server has its store" in result.err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("words", [("serve",), ("keys", "list")])
def test_without_its_packages_the_service_names_the_extra(luthier, tmp_path, monkeypatch, words):
    monkeypatch.setattr("luthier.cli.service_probes.PACKAGES", ("fastapi", "no_such_package"))
    result = luthier(*words, "--home", str(tmp_path / "home"))
    assert result.code == 2
    assert "lacks no_such_package" in result.err
    assert "luthier[serve]" in result.err
    assert not (tmp_path / "home").exists()
