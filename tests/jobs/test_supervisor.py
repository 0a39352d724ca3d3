"""The supervisor with a fake worker that speaks the real wire: what happens to a job, and in which words."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from workshop import FAKE, QUICK, Workshop, as_lines, conversations, orders, steps_of

from luthier.jobs.result_file import HEADER
from luthier.jobs.telling import Telling

Open = Callable[..., Workshop]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens workshops in one home, one after the other."""
    made: list[Workshop] = []

    def make(**options: Any) -> Workshop:
        made.append(Workshop(tmp_path / "home", **{"program": FAKE, **options}))
        return made[-1]

    yield make
    for workshop in made:
        workshop.close()


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """One workshop for the tests that need none of their own."""
    workshop = Workshop(tmp_path_factory.mktemp("home"), program=FAKE)
    yield workshop
    workshop.close()


def test_a_job_from_its_files_to_a_model(workshop):
    job = workshop.create(workshop.upload(orders()), workshop.upload(as_lines(conversations(4, "no"))), suffix="mine")
    done = workshop.until_status(job, "succeeded")
    name = done.fine_tuned_model
    assert name is not None
    assert name.startswith("ft:luthier-nano:local:mine:")
    assert (done.step, done.total_steps, done.trained_tokens, done.error) == (10, 10, 100, None)
    assert done.chosen == {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 1.0}
    events = workshop.events(job)
    told = [event.message for event in events if not event.key.startswith(("check:", "message:"))]
    training = f"Validating training file: {job.training_file}"
    steps = [f"Step {step}/10: training loss={1 / step:.2f}" for step in range(1, 11)]
    steps[4] += ", validation loss=0.40"
    steps[9] += ", validation loss=0.20"
    assert told == [
        f"Created fine-tuning job: {job.id}", training, "Files validated, moving job to queued state",
        "Fine-tuning job started", *steps[:5], "Checkpoint created at step 5", *steps[5:],
        "Checkpoint created at step 10", "New fine-tuned model created", "The job has successfully completed",
    ]  # fmt: skip
    metrics = [event.data for event in events if event.type == "metrics"]
    assert metrics[4] == {
        "step": 5, "total_steps": 10, "train_loss": 0.2, "train_mean_token_accuracy": 0.5, "valid_loss": 0.4,
        "full_valid_loss": 0.4,
    }  # fmt: skip
    models = {model.name: model for model in workshop.store.models.list(workshop.project) if model.job_id == job.id}
    assert set(models) == {name, f"{name}:ckpt-step-5", f"{name}:ckpt-step-10"}
    for model in models.values():
        assert (workshop.artefacts.folder(model.artefact) / "adapter_model.safetensors").is_file()
        assert (model.task, model.method, model.base_model) == ("chat", "lora", "luthier-nano")
    checkpoints = workshop.store.jobs.checkpoints(workshop.project, job.id).items
    assert [(item.step, item.model) for item in checkpoints] == [
        (10, f"{name}:ckpt-step-10"), (5, f"{name}:ckpt-step-5")
    ]  # fmt: skip
    assert checkpoints[0].metrics["full_valid_loss"] == 0.2
    (file_id,) = done.result_files
    stored = workshop.store.files.get(workshop.project, file_id)
    assert stored.purpose == "fine-tune-results"
    lines = workshop.artefacts.local(stored.artefact).read_text().splitlines()
    assert lines[0] == ",".join(HEADER)
    assert lines[1] == "1,1.0,0.5,,"
    assert lines[5] == "5,0.2,0.5,0.4,"
    assert len(lines) == 11
    assert (workshop.artefacts.folder(done.result["report"]) / "report.json").is_file()
    workshop.until_gone(workshop.home / "work" / job.id)
    assert workshop.leftovers() == []


def test_it_runs_within_two_seconds(workshop):
    warm = workshop.create(workshop.upload(orders()))
    workshop.until_status(warm, "succeeded")
    time.sleep(1.0)  # the next check's process gets ready
    began = time.monotonic()
    job = workshop.create(workshop.upload(orders()))
    workshop.until_status(job, "running")
    assert time.monotonic() - began < 2.0


def test_bad_lines_are_told(workshop):
    rows = [*conversations(12), {"messages": [{"role": "wizard", "content": "x"}]}, {"messages": []}]
    job = workshop.create(workshop.upload(as_lines(rows)))
    failed = workshop.until_status(job, "failed")
    assert failed.error is not None
    assert failed.error["code"] == "invalid_training_file"
    assert failed.error["param"] == "training_file"
    assert failed.error["message"].startswith("The job failed due to an invalid training file. Line 13: ")
    assert "Line 14: " in failed.error["message"]
    assert str(workshop.home) not in failed.error["message"]
    last = workshop.events(job)[-1]
    assert (last.level, last.message) == ("error", failed.error["message"])
    workshop.until_gone(workshop.home / "work" / job.id)


def test_of_many_bad_lines_a_hundred_are_told_and_the_rest_is_in_a_file(workshop):
    rows = [*conversations(12), *[{"messages": []}] * 130]
    job = workshop.create(workshop.upload(as_lines(rows)))
    failed = workshop.until_status(job, "failed")
    assert failed.error is not None
    assert failed.error["message"].count("Line ") == 100
    assert "more" in failed.error["message"].splitlines()[-1]
    assert (workshop.artefacts.folder(f"reports/{job.id}") / "findings.jsonl").is_file()


def test_nine_examples_are_too_few(workshop):
    job = workshop.create(workshop.upload(as_lines(conversations(9))))
    failed = workshop.until_status(job, "failed")
    assert failed.error is not None
    assert failed.error["code"] == "invalid_n_examples"
    assert "must have at least 10 examples" in failed.error["message"]


def test_a_bad_validation_file_is_named(workshop):
    bad = workshop.upload(b'{"messages": [{"role": "user"}]}\n' * 3)
    failed = workshop.until_status(workshop.create(workshop.upload(orders()), bad), "failed")
    assert failed.error is not None
    assert (failed.error["code"], failed.error["param"]) == ("invalid_validation_file", "validation_file")


def test_a_validation_row_that_is_also_in_training_is_a_warning(workshop):
    job = workshop.create(workshop.upload(orders()), workshop.upload(orders()))
    workshop.until_status(job, "succeeded")
    warnings = [event.message for event in workshop.events(job) if event.level == "warn"]
    assert any("train" in text and "validation" in text for text in warnings)


def test_a_file_that_is_gone_fails_the_job(workshop):
    stored = workshop.upload(orders())
    workshop.artefacts.delete(stored.artefact)
    job = workshop.create(stored)
    failed = workshop.until_status(job, "failed")
    assert failed.error is not None
    assert failed.error["code"] == "file_missing"


def test_paths_in_a_recipe_are_refused(workshop):
    stored = workshop.upload(orders())
    recipe = {
        "model": "luthier-nano", "task": "chat", "data": {"train": stored.id, "test": "/etc/passwd"},
        "method": {"kind": "lora"}, "train": {},
    }  # fmt: skip
    failed = workshop.until_status(workshop.create(stored, recipe=recipe), "failed")
    assert failed.error is not None
    assert failed.error["code"] == "invalid_training_file"


def test_cancel_while_it_runs(workshop):
    job = workshop.create(workshop.upload(orders(seconds=0.2)))
    workshop.until(job, lambda found: found.step >= 2)
    workshop.store.jobs.cancel(workshop.project, job.id)
    began = time.monotonic()
    done = workshop.until_status(job, "cancelled")
    assert time.monotonic() - began < 10.0
    assert done.fine_tuned_model is None
    assert [event.key for event in workshop.events(job)].count("cancelled") == 1
    assert not any(model.job_id == job.id for model in workshop.store.models.list(workshop.project))
    workshop.until_gone(workshop.home / "work" / job.id)


def test_pause_and_resume_end_with_the_same_weights(workshop):
    whole = workshop.create(workshop.upload(orders()))
    workshop.until_status(whole, "succeeded")
    job = workshop.create(workshop.upload(orders(seconds=0.1)))
    workshop.until(job, lambda found: found.step >= 3)
    workshop.store.jobs.pause(workshop.project, job.id)
    paused = workshop.until_status(job, "paused")
    assert paused.step < 10
    assert workshop.supervisor.running() == {}
    time.sleep(0.5)
    assert workshop.job(job).status == "paused"
    workshop.store.jobs.resume(workshop.project, job.id)
    workshop.until_status(job, "succeeded")
    assert steps_of(workshop.events(job)) == list(range(1, 11))
    assert workshop.weights(job) == workshop.weights(whole)
    assert any(event.message == "The job was paused" for event in workshop.events(job))


def test_one_job_runs_at_a_time_and_the_most_urgent_goes_first(opened):
    workshop = opened(start=False)
    slow = workshop.upload(orders(seconds=0.05))
    jobs = [workshop.create(slow, priority=priority) for priority in (0, 5)]
    for job in jobs:
        workshop.store.jobs.validated(job.id, {}, [])
    workshop.supervisor.start()
    first, second = jobs[1], jobs[0]
    most = 0
    while workshop.job(second).status != "succeeded":
        most = max(most, len(workshop.supervisor.running()))
        time.sleep(0.01)
    assert most == 1
    done = [workshop.job(job) for job in (first, second)]
    assert done[0].finished_at is not None
    assert done[1].started_at is not None
    assert done[0].finished_at <= done[1].started_at


def test_shutdown_puts_a_job_back_and_the_next_server_ends_it(opened):
    workshop = opened()
    whole = workshop.create(workshop.upload(orders()))
    workshop.until_status(whole, "succeeded")
    job = workshop.create(workshop.upload(orders(seconds=0.1)))
    workshop.until(job, lambda found: found.step >= 3)
    worker = workshop.worker(job)
    workshop.close()
    assert not Path(f"/proc/{worker}").exists()
    again = opened()
    before = again.events(job)
    assert again.job(job).attempts == 0
    again.until_status(job, "succeeded")
    assert again.events(job)[: len(before)] == before
    assert steps_of(again.events(job)) == list(range(1, 11))
    assert again.weights(job) == again.weights(whole)


def test_the_start_sweeps_up(opened, tmp_path):
    first = opened()
    first.close()
    work = tmp_path / "home" / "work"
    (work / "ftjob-gone").mkdir()
    (work / "ftjob-gone" / "x").write_text("x")
    (tmp_path / "home" / "artefacts" / "files").mkdir(exist_ok=True)
    (tmp_path / "home" / "artefacts" / "files" / ".tmp-luthier-half").write_text("x")
    second = opened()
    assert not (work / "ftjob-gone").exists()
    assert second.leftovers() == []


def test_a_worker_knows_no_secret(opened, monkeypatch):
    for name in ("LUTHIER_DATABASE", "LUTHIER_KEY", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD"):
        monkeypatch.setenv(name, "canary-7261")
    workshop = opened()
    job = workshop.create(workshop.upload(orders(do="environment", at=2)))
    failed = workshop.until_status(job, "failed")
    assert failed.error is not None
    known = json.loads(failed.error["message"])
    assert "canary-7261" not in failed.error["message"]
    assert known["HF_HUB_OFFLINE"] == "1"
    assert "PATH" in known


def test_the_supervisor_needs_no_torch():
    code = (
        "import sys, luthier.jobs.supervisor, luthier.jobs.validation, luthier.jobs.remote_artefacts\n"
        "print(sorted({'torch', 'transformers', 'peft', 'tokenizers'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_worker_silent_for_too_long_is_ended(opened):
    workshop = opened(patience=replace(QUICK, step=1.0, step_factor=3.0))
    job = workshop.create(workshop.upload(orders(do="hang once", at=4)))
    workshop.until_status(job, "succeeded")
    told = [event.message for event in workshop.events(job) if event.key.startswith("crash:")]
    assert len(told) == 1
    assert "silent for" in told[0]
    assert steps_of(workshop.events(job)) == list(range(1, 11))


def test_a_stopped_worker_is_ended_too(opened):
    workshop = opened(patience=replace(QUICK, step=1.0, step_factor=3.0))
    job = workshop.create(workshop.upload(orders(seconds=0.1)))
    workshop.until(job, lambda found: found.step >= 3)
    os.kill(workshop.worker(job), signal.SIGSTOP)
    workshop.until_status(job, "succeeded")
    assert steps_of(workshop.events(job)) == list(range(1, 11))


def test_metrics_hold_no_number_that_json_has_not():
    telling = Telling(str)
    data = {
        "step": 1,
        "total_steps": 4,
        "epochs": 2,
        "loss": None,
        "token_accuracy": float("nan"),
        "seconds_left": None,
    }
    telling.take({"kind": "step", "data": data})
    telling.close()
    (event,) = telling.taken()
    assert event.data == {"step": 1, "total_steps": 4}


def test_an_evaluation_whose_step_was_told_before_a_stop_is_an_event_of_its_own():
    telling = Telling(str)
    telling.take({"kind": "evaluation", "data": {"step": 5, "train_loss": 1.0, "validation_loss": 2.0}})
    (event,) = telling.taken()
    assert (event.key, event.type) == ("evaluation:5", "metrics")
    assert event.data["full_valid_loss"] == 2.0
