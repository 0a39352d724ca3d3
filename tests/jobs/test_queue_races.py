"""Several threads at the same jobs at once: everything happens once."""

from __future__ import annotations

import itertools
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from luthier.jobs.errors import Conflict, LimitReached, StaleClaim
from luthier.jobs.limits import Limits
from luthier.jobs.records import TERMINAL, NewEvent

MANY = pytest.param(1000, marks=pytest.mark.slow)


def terminal_events(make, job_id):
    return [key for key in make.keys_of_events(job_id) if key in TERMINAL]


@pytest.mark.parametrize("pairs", [20, MANY])
def test_cancel_and_finish_at_once_give_one_end(store, project, make, pairs):
    queue = make.queue(limits=Limits(running=pairs))
    luck = random.Random(1)
    answers = {"succeeded": 0, "cancelled": 0}

    def cancel(job_id, gate, delay):
        gate.wait()
        threading.Event().wait(delay)
        try:
            return store.jobs.cancel(project.id, job_id, [NewEvent("cancelled", "")]).status
        except Conflict:
            return None

    def finish(claim, gate, delay):
        gate.wait()
        threading.Event().wait(delay)
        try:
            return queue.finish(claim, "succeeded", events=[NewEvent("succeeded", "")])
        except Conflict:
            return queue.finish(claim, "cancelled", events=[NewEvent("cancelled", "")])

    with ThreadPoolExecutor(2) as threads:
        for _ in range(pairs):
            claim, gate = make.claim(queue), threading.Barrier(2)
            delays = [luck.random() / 200, luck.random() / 200]
            cancelling = threads.submit(cancel, claim.job.id, gate, delays[0])
            job = threads.submit(finish, claim, gate, delays[1]).result()
            accepted = cancelling.result() is not None
            assert store.jobs.find(claim.job.id) == job
            assert job.status == ("cancelled" if accepted else "succeeded")
            assert terminal_events(make, job.id) == [job.status]
            answers[job.status] += 1
    assert all(answers.values()), "each of them wins sometimes"


@pytest.mark.parametrize("count", [10, MANY])
def test_cancel_and_claim_at_once_lose_no_cancel(store, project, make, count):
    queue = make.queue(limits=Limits(running=count))

    def work():
        claim = queue.claim()
        if claim is None:
            return
        wanted = queue.heartbeat(claim)
        queue.release(claim, True, ()) if wanted else queue.paused(claim, ())

    with ThreadPoolExecutor(2) as threads:
        for _ in range(count):
            job = make.job()
            working = threads.submit(work)
            store.jobs.cancel(project.id, job.id)
            working.result()
            assert store.jobs.find(job.id).status == "cancelled"
            assert terminal_events(make, job.id) == ["cancelled"]


@pytest.mark.parametrize("jobs", [24, pytest.param(500, marks=pytest.mark.slow)])
def test_each_job_is_claimed_by_one(make, jobs):
    made = {make.job().id for _ in range(jobs)}
    queues = [make.queue(f"supervisor-{number}", limits=Limits(running=jobs)) for number in range(4)]

    def claims(queue):
        return [claim.job.id for claim in iter(queue.claim, None)]

    with ThreadPoolExecutor(len(queues)) as threads:
        taken = list(itertools.chain(*threads.map(claims, queues)))
    assert len(taken) == jobs
    assert set(taken) == made


def test_one_running_job_per_device_also_at_once(make):
    for _ in range(8):
        make.job()
    queue = make.queue()
    with ThreadPoolExecutor(8) as threads:
        claims = list(threads.map(lambda _: queue.claim(("cuda:0", "cuda:1")), range(8)))
    assert sorted(claim.device for claim in claims if claim) == ["cuda:0", "cuda:1"]


def test_no_limit_is_passed_at_once(store, project, make):
    def create(_):
        try:
            return store.jobs.create(make.a_job(), [], limits=Limits(per_project=3))
        except LimitReached:
            return None

    with ThreadPoolExecutor(8) as threads:
        made = [job for job in threads.map(create, range(16)) if job]
    assert len(made) == len(store.jobs.list(project.id).items) == 3


def test_events_of_two_threads_have_no_gap(make):
    queue = make.queue()
    claim = make.claim(queue)

    def record(start):
        for number in range(start, start + 15):
            queue.record(claim, [NewEvent(f"step:{number}", ""), NewEvent("shared", "")])

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(record, (0, 10, 20)))  # they overlap
    keys = make.keys_of_events(claim.job.id)
    assert sorted(keys) == sorted(["created", "shared", *(f"step:{number}" for number in range(35))])


def test_two_rescues_at_once_put_a_job_back_once(store, make, moved_clock):
    queues = [make.queue(f"supervisor-{number}") for number in range(4)]
    claims = [make.claim(queues[0], id=f"ftjob-{number}") for number in range(1)]
    moved_clock.pass_seconds(30)
    with ThreadPoolExecutor(4) as threads:
        rescued = list(itertools.chain(*threads.map(lambda queue: queue.rescue(), queues)))
    assert rescued == [claims[0].job.id]
    with pytest.raises(StaleClaim):
        queues[0].heartbeat(claims[0])
