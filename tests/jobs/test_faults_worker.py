"""Everything that can happen to a worker, with a fake one: the job ends as if nothing had happened, or says why not."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from workshop import FAKE, WAIT, Workshop, orders, steps_of

from luthier.jobs.children import Child, computing_environment, started_at
from luthier.jobs.queue import Queue
from luthier.jobs.records import Job
from luthier.jobs.worker_wire import Assignment

SEED = 20261124


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    workshop = Workshop(tmp_path_factory.mktemp("home"), program=FAKE)
    yield workshop
    workshop.close()


@pytest.fixture(scope="module")
def undisturbed(workshop: Workshop) -> dict[str, str]:
    """The weights of a job that nothing happened to."""
    job = workshop.create(workshop.upload(orders()))
    workshop.until_status(job, "succeeded")
    return workshop.weights(job)


def send(worker: int, number: signal.Signals) -> None:
    """A signal to a worker that may have ended already (its number is kept until the supervisor has seen that)."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker, number)


def ends_well(workshop: Workshop, job: Job, undisturbed: dict[str, str]) -> Job:
    done = workshop.until_status(job, "succeeded")
    assert done.status == "succeeded", done.error
    events = workshop.events(job)
    assert steps_of(events) == list(range(1, 11))
    assert [event.key for event in events if event.key in ("succeeded", "failed", "cancelled")] == ["succeeded"]
    assert [event.data["step"] for event in events if event.key.startswith("checkpoint:")] == [5, 10]
    assert workshop.weights(job) == undisturbed
    lines = workshop.artefacts.local(f"files/{done.result_files[0]}").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [str(step) for step in range(1, 11)]
    workshop.until_gone(workshop.home / "work" / job.id)
    assert workshop.leftovers() == []
    return done


@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_workers_killed_at_random_end_with_the_same_weights(workshop, undisturbed, times):
    chance = random.Random(SEED + times)
    for number in range(times):
        job = workshop.create(workshop.upload(orders(seconds=0.05)))
        worker, wait = workshop.worker(job), chance.uniform(0.0, 1.5)
        time.sleep(wait)
        send(worker, signal.SIGKILL)
        try:
            ends_well(workshop, job, undisturbed)
        except AssertionError as error:
            raise AssertionError(f"kill {number} of seed {SEED + times}, after {wait:.3f} s") from error


def test_a_killed_worker_is_replaced_at_once(workshop, undisturbed):
    job = workshop.create(workshop.upload(orders(seconds=0.1)))
    workshop.until(job, lambda found: found.step >= 3)
    killed = workshop.worker(job)
    os.kill(killed, signal.SIGKILL)
    began = time.monotonic()
    while workshop.supervisor.running().get(job.id, killed) == killed:
        assert time.monotonic() - began < 2.0
        time.sleep(0.005)
    done = ends_well(workshop, job, undisturbed)
    assert done.fence == 2
    assert any("SIGKILL" in event.message and event.level == "warn" for event in workshop.events(job))


def test_sigterm_saves_and_is_no_attempt(workshop, undisturbed):
    job = workshop.create(workshop.upload(orders(seconds=0.1)))
    chance = random.Random(SEED)
    for _ in range(4):  # more than crashes would be forgiven
        step, worker = workshop.job(job).step, workshop.worker(job)
        workshop.until(job, lambda found, step=step: found.step > step or found.terminal)
        time.sleep(chance.uniform(0.0, 0.2))
        send(worker, signal.SIGTERM)
        began = time.monotonic()
        while started_at(worker):
            assert time.monotonic() - began < 5.0
            time.sleep(0.01)
        assert workshop.job(job).attempts == 0
        end = time.monotonic() + WAIT
        while worker in workshop.supervisor.running().values() and time.monotonic() < end:
            time.sleep(0.01)
    ends_well(workshop, job, undisturbed)


@pytest.mark.parametrize("other", [signal.SIGINT, signal.SIGHUP, signal.SIGXCPU])
def test_other_signals_ask_to_stop_as_well(workshop, undisturbed, other):
    job = workshop.create(workshop.upload(orders(seconds=0.1)))
    workshop.until(job, lambda found: found.step >= 3)
    os.kill(workshop.worker(job), other)
    assert ends_well(workshop, job, undisturbed).attempts == 0
    assert not any(event.key.startswith("crash:") for event in workshop.events(job))


def test_a_second_sigterm_ends_at_once(workshop, undisturbed):
    job = workshop.create(workshop.upload(orders(seconds=0.5)))
    workshop.until(job, lambda found: found.step >= 1)
    worker = workshop.worker(job)
    os.kill(worker, signal.SIGTERM)
    time.sleep(0.02)
    os.kill(worker, signal.SIGTERM)
    began = time.monotonic()
    while started_at(worker):
        assert time.monotonic() - began < 3.0
        time.sleep(0.01)
    assert ends_well(workshop, job, undisturbed).attempts == 0


@pytest.mark.parametrize(
    ("what", "words"),
    [("segfault", "SIGSEGV"), ("exit", "status 3"), ("bug", "IndexError"), ("garbage", "unforeseen error")],
)
def test_a_poison_job_fails_after_three_tries_and_the_queue_moves_on(workshop, undisturbed, what, words):
    poison = workshop.create(workshop.upload(orders(do=what, at=2)))
    behind = workshop.create(workshop.upload(orders()))
    failed = workshop.until_status(poison, "failed")
    assert failed.error is not None
    assert failed.error["code"] == "worker_crashed"
    assert words in failed.error["message"]
    assert (failed.fence, failed.attempts) == (3, 3)
    assert [event.level for event in workshop.events(poison)][-1] == "error"
    ends_well(workshop, behind, undisturbed)


@pytest.mark.parametrize("what", ["segfault once", "exit once", "bug once", "garbage once"])
def test_one_accident_is_no_failure(workshop, undisturbed, what):
    done = ends_well(workshop, workshop.create(workshop.upload(orders(do=what, at=7))), undisturbed)
    assert done.attempts == 0


def test_a_diverged_training_fails_with_its_code(workshop):
    failed = workshop.until_status(workshop.create(workshop.upload(orders(do="nan", at=4))), "failed")
    assert failed.error == {
        "code": "nonfinite_loss", "message": "training diverged: the loss is nan.", "param": None
    }  # fmt: skip
    assert failed.fence == 1


@pytest.mark.parametrize("times", [1, 4])
def test_without_memory_it_is_tried_with_half_of_it_again(workshop, times):
    job = workshop.create(workshop.upload(orders(do=f"memory {times} times", at=4)), train={"batch_size": 32})
    done = workshop.until_status(job, "succeeded")
    assert done.fence == times + 1
    assert done.chosen["batch_size"] == 32, "the rows of a step stay the same"
    told = [event.message for event in workshop.events(job) if event.key.startswith("memory:")]
    assert len(told) == times
    assert "half the size" in told[0]


@pytest.mark.parametrize(("batch_size", "tries"), [(32, 5), (64, 5), (4, 3), (6, 2), (1, 1)])
def test_without_memory_for_the_smallest_step_it_fails(workshop, batch_size, tries):
    """After four halvings, or where micro-batches cannot be halved any more."""
    made = workshop.upload(orders(do="memory", at=4))
    failed = workshop.until_status(workshop.create(made, train={"batch_size": batch_size}), "failed")
    assert failed.error is not None
    assert failed.error["code"] == "out_of_memory"
    assert "memory" in failed.error["message"]
    assert failed.fence == tries


def test_a_job_whose_own_workers_died_goes_on_by_itself_where_it_came_further(workshop, undisturbed):
    job = workshop.create(workshop.upload(orders(do="workers once", at=4)))  # there is a checkpoint at 2
    ends_well(workshop, job, undisturbed)
    [told] = [event for event in workshop.events(job) if event.key.startswith("workers:")]
    assert told.level == "warn"


def test_a_job_whose_own_workers_died_without_coming_further_waits_for_a_person(workshop, undisturbed):
    job = workshop.create(workshop.upload(orders(do="workers once", at=1)))
    assert workshop.until_status(job, "paused").error is None
    [told] = [event for event in workshop.events(job) if event.key.startswith("workers:")]
    assert (told.level, told.data["code"]) == ("error", "workers_died")
    assert told.message.startswith("they died, perhaps out of memory. The job is paused")
    workshop.store.jobs.resume(workshop.project, job.id)
    ends_well(workshop, job, undisturbed)


def test_a_full_disk_pauses_and_the_job_goes_on_when_there_is_room(workshop, undisturbed):
    job = workshop.create(workshop.upload(orders(do="disk once", at=6)))
    ends_well(workshop, job, undisturbed)
    full = [event for event in workshop.events(job) if event.key.startswith("disk_full:")]
    assert len(full) == 1
    assert full[0].data["code"] == "disk_full"
    assert "paused" in full[0].message
    assert any(event.key.startswith("room:") for event in workshop.events(job))


def test_a_disk_that_is_full_again_at_the_same_step_waits_for_a_person(workshop):
    job = workshop.create(workshop.upload(orders(do="disk", at=6)))
    workshop.until(job, lambda found: found.status == "paused" and found.fence == 2)
    time.sleep(1.0)
    paused = workshop.job(job)
    assert (paused.status, paused.fence, paused.error) == ("paused", 2, None)
    assert (workshop.home / "work" / job.id / "run").is_dir()
    workshop.store.jobs.cancel(workshop.project, job.id)
    workshop.until_gone(workshop.home / "work" / job.id)  # its room is what the disk lacked


def test_a_job_that_cannot_fit_is_paused_before_it_begins(workshop):
    job = workshop.create(workshop.upload(orders(bytes=10**15, seconds=0.5)))
    paused = workshop.until(job, lambda found: found.status == "paused")
    assert paused.step <= 1
    last = workshop.events(job)[-1]
    assert last.data["needed_bytes"] == 25 * 10**14, "two and a half checkpoints"
    workshop.store.jobs.cancel(workshop.project, job.id)
    workshop.until_gone(workshop.home / "work" / job.id)


def can_mount(folder: Path) -> bool:
    if os.getuid() != 0:
        return False
    return (
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode == 0
    )


def test_a_really_full_disk(tmp_path, undisturbed):
    """The work folder is a file system of one mebibyte, which then grows."""
    home = tmp_path / "home"
    (home / "work").mkdir(parents=True)
    if not can_mount(home / "work"):
        pytest.skip("this needs root, for a file system of its own")
    try:
        workshop = Workshop(home, program=FAKE)
        try:
            job = workshop.create(workshop.upload(orders(padding=450_000, bytes=100_000)))
            workshop.until(job, lambda found: found.status == "paused")
            assert workshop.events(job)[-1].data["code"] == "disk_full"
            subprocess.run(["mount", "-o", "remount,size=64m", home / "work"], check=True)
            workshop.until(job, lambda found: found.status != "paused" or found.fence >= 2, seconds=20.0)
            if workshop.job(job).status == "paused":  # it had been tried again before there was room
                workshop.store.jobs.resume(workshop.project, job.id)
            ends_well(workshop, job, undisturbed)
        finally:
            workshop.close()
    finally:
        subprocess.run(["umount", home / "work"], check=True)


def test_who_lost_the_claim_writes_nothing_more(workshop, undisturbed):
    job = workshop.create(workshop.upload(orders(seconds=0.6)))
    workshop.until(job, lambda found: found.step >= 2)
    first = workshop.worker(job)
    other = Queue(workshop.store, "another server", lease_seconds=0.0)
    claim = None
    while claim is None:
        other.rescue()
        claim = other.claim()
        if claim is not None and claim.job.id != job.id:
            raise AssertionError("another job waits")
    events = workshop.events(job)
    began = time.monotonic()
    while started_at(first):
        assert time.monotonic() - began < 3.0, "the worker of the lost claim lives on"
        time.sleep(0.01)
    time.sleep(0.5)
    assert workshop.events(job) == events
    held = workshop.job(job)
    assert (held.owner, held.fence, held.status) == ("another server", claim.fence, "running")
    other.release(claim, True, [])
    ends_well(workshop, job, undisturbed)


def spawn(folder: Path, fence: int, **values: Any) -> tuple[Child, int]:
    """A fake worker without a supervisor, and what to read its lines from."""
    data = folder / f"train-{time.monotonic_ns()}.jsonl"  # another worker may be reading its own just now
    data.write_bytes(orders(**values))
    recipe: dict[str, Any] = {
        "model": "luthier-nano", "task": "chat", "data": {"train": str(data), "validation": 0.0},
        "method": {"kind": "lora"}, "train": {"epochs": 2, "batch_size": 4},
    }  # fmt: skip
    reading, writing = os.pipe()
    child = Child.spawn([*FAKE, str(os.getpid()), str(writing)], computing_environment("cpu"), descriptors=[writing])
    os.close(writing)
    places = (str(folder / "run"), str(folder / "lock"), str(folder))
    child.tell(Assignment("ftjob-x", fence, recipe, *places, nice=0).to_line())
    return child, reading


def first_line(descriptor: int) -> dict[str, Any]:
    data = b""
    while not data.endswith(b"\n"):
        data += os.read(descriptor, 1)
    found: dict[str, Any] = json.loads(data)
    return found


def test_a_worker_ends_when_nobody_speaks_to_it_any_more(tmp_path):
    """Where the kernel does not end it with its parent: its pipe is closed then."""
    worker, events = spawn(tmp_path, 1, do="hang", at=1)
    assert first_line(events)["kind"] == "began"
    worker.hang_up()
    assert worker.wait(10.0) == 1
    worker.end()
    os.close(events)


def test_a_worker_ends_the_one_whose_claim_is_older(tmp_path):
    """The older one stands still (SIGSTOP) while it holds the run; the younger one takes it over."""
    older, events_of_older = spawn(tmp_path, 1, seconds=3.0)
    assert first_line(events_of_older)["kind"] == "began"
    os.kill(older.pid, signal.SIGSTOP)
    younger, events_of_younger = spawn(tmp_path, 2, seconds=3.0)
    assert first_line(events_of_younger)["kind"] == "began"
    assert older.wait(5.0) == -signal.SIGKILL
    same, events_of_same = spawn(tmp_path, 2, seconds=3.0)
    assert first_line(events_of_same)["code"] == "run_in_use"
    for child, descriptor in ((older, events_of_older), (younger, events_of_younger), (same, events_of_same)):
        child.end()
        os.close(descriptor)


def test_no_process_outlives_a_killed_server(tmp_path, undisturbed):
    home, file = tmp_path / "home", tmp_path / "train.jsonl"
    file.write_bytes(orders(do="hang once", at=6))  # it cannot notice by writing to the server
    server, job_id = _start_server(home, file)
    workers = _descendants(server.pid)
    end = time.monotonic() + WAIT
    while len(workers) < 2 or not (home / "work" / job_id / "once").is_file():  # worker, next check
        assert time.monotonic() < end
        time.sleep(0.02)
        workers = _descendants(server.pid)
    server.kill()
    server.communicate()
    began = time.monotonic()
    while any(started_at(pid) for pid in workers):
        assert time.monotonic() - began < 2.0, "an orphan"
        time.sleep(0.01)
    workshop = Workshop(home, program=FAKE)
    try:
        job = workshop.store.jobs.find(job_id)
        assert not job.terminal
        began = time.monotonic()
        while job_id not in workshop.supervisor.running():
            assert time.monotonic() - began < 5.0, "not claimed again at once"
            time.sleep(0.01)
        ends_well(workshop, job, undisturbed)
    finally:
        workshop.close()


@pytest.mark.slow
def test_a_server_killed_at_random_loses_nothing(tmp_path, undisturbed):
    chance = random.Random(SEED)
    for number in range(6):
        home, file = tmp_path / f"home-{number}", tmp_path / "train.jsonl"
        file.write_bytes(orders(seconds=0.1))
        for _ in range(3):
            server, job_id = _start_server(home, file)
            time.sleep(chance.uniform(0.0, 3.0))
            server.kill()
            server.communicate()
        workshop = Workshop(home, program=FAKE)
        try:
            ends_well(workshop, workshop.store.jobs.find(job_id), undisturbed)
        finally:
            workshop.close()


def _start_server(home: Path, file: Path) -> tuple[subprocess.Popen[str], str]:
    script = Path(__file__).with_name("supervisor_process.py")
    server = subprocess.Popen([sys.executable, script, home, file], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, server.stdout.readline().strip()


def _descendants(pid: int) -> list[int]:
    return [process.pid for process in psutil.Process(pid).children(recursive=True)]
