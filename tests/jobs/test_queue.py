"""The queue: claims, fences, leases and ends."""

from __future__ import annotations

import pytest

from luthier.jobs.errors import Conflict, StaleClaim
from luthier.jobs.ids import new_id
from luthier.jobs.limits import Limits
from luthier.jobs.records import JobCheckpoint, NewEvent


def done(*keys):
    return [NewEvent(key, key) for key in keys]


def test_the_most_urgent_and_oldest_job_comes_first(make):
    late, urgent, early = make.job(), make.job(priority=5), make.job(priority=-1)
    queue = make.queue(limits=Limits(running=9))
    claims = [queue.claim() for _ in range(4)]
    assert [claim and claim.job.id for claim in claims] == [urgent.id, late.id, early.id, None]
    assert claims[0].job.status == "running"
    assert claims[0].job.started_at is not None
    assert (claims[0].fence, claims[0].job.fence, claims[0].job.owner) == (1, 1, "supervisor")


def test_one_job_per_device(make):
    for _ in range(4):
        make.job()
    queue, other = make.queue("a"), make.queue("b")
    first = queue.claim(("cuda:0", "cuda:1"))
    second = queue.claim(("cuda:0", "cuda:1"))
    assert (first.device, second.device, second.job.device) == ("cuda:0", "cuda:1", "cuda:1")
    assert queue.claim(("cuda:0", "cuda:1")) is None
    assert other.claim(("cuda:0",)) is not None  # another machine
    queue.finish(first, "succeeded", events=[])
    assert queue.claim(("cuda:0", "cuda:1")).device == "cuda:0"


def test_only_queued_jobs_are_claimed(make, store, project):
    make.job(status="validating_files")
    store.jobs.pause(project.id, make.job().id)
    assert make.queue().claim() is None


def test_what_a_worker_says_is_recorded_once(store, project, make):
    claim, queue = make.claim(), make.queue()
    checkpoint = JobCheckpoint(new_id("ftckpt-"), claim.job.id, 4, "ft:x:ckpt-step-4", {"train_loss": 0.5}, 3)
    for _ in range(2):
        queue.record(
            claim,
            [*done("step:1", "step:2"), NewEvent("step:2", "again")],
            step=4,
            total_steps=8,
            chosen={"n_epochs": 3},
            estimated_finish=99,
            checkpoint=checkpoint,
            models=[make.a_model(claim.job, "ft:x:ckpt-step-4", step=4)],
        )
    queue.record(claim, done("step:3"), step=2)  # repeats after a resume
    job = store.jobs.get(project.id, claim.job.id)
    assert (job.step, job.total_steps, job.chosen, job.estimated_finish) == (4, 8, {"n_epochs": 3}, 99)
    assert make.keys_of_events(claim.job.id) == ["created", "step:1", "step:2", "step:3"]
    assert store.jobs.events(project.id, claim.job.id, limit=2).items[1].message == "step:2"
    assert store.jobs.checkpoints(project.id, claim.job.id).items == [checkpoint]
    assert store.models.get(project.id, "ft:x:ckpt-step-4").step == 4


def test_checkpoints_are_paged_newest_first(store, project, make):
    claim, queue = make.claim(), make.queue()
    made = [JobCheckpoint(new_id("ftckpt-"), claim.job.id, step, f"m{step}", {}, 3) for step in (1, 2, 3)]
    for checkpoint in made:
        queue.record(claim, checkpoint=checkpoint)
    page = store.jobs.checkpoints(project.id, claim.job.id, limit=2)
    assert (page.items, page.has_more) == ([made[2], made[1]], True)
    assert store.jobs.checkpoints(project.id, claim.job.id, after=made[1].id).items == [made[0]]


def test_a_job_ends_with_all_that_it_made(store, project, make):
    claim, queue = make.claim(), make.queue()
    file = make.a_file(purpose="fine-tune-results")
    model = make.a_model(claim.job, "ft:x")
    checkpoint = JobCheckpoint(new_id("ftckpt-"), claim.job.id, 9, "ft:x", {"train_loss": 0.1}, 3)
    arguments = {
        "events": done("succeeded"),
        "models": [model],
        "checkpoints": [checkpoint],
        "result_files": [file, "file-known"],
        "trained_tokens": 12,
        "fine_tuned_model": "ft:x",
        "result": {"report": "r"},
    }
    job = queue.finish(claim, "succeeded", **arguments)
    assert job.status == "succeeded"
    assert (job.trained_tokens, job.fine_tuned_model, job.result) == (12, "ft:x", {"report": "r"})
    assert job.result_files == [file.id, "file-known"]
    assert (job.owner, job.device, job.estimated_finish, job.error) == (None, None, None, None)
    assert store.files.get(project.id, file.id) == file
    assert store.models.get(project.id, "ft:x") == model
    assert queue.finish(claim, "succeeded", **arguments) == job  # the first answer was lost
    assert make.keys_of_events(claim.job.id) == ["created", "succeeded"]


def test_a_job_ends_once(make):
    claim, queue = make.claim(), make.queue()
    queue.finish(claim, "failed", events=[], error={"code": "nonfinite_loss", "message": "NaN"})
    for late in (
        lambda: queue.finish(claim, "succeeded", events=done("succeeded")),
        lambda: queue.finish(claim, "cancelled", events=done("cancelled")),
        lambda: queue.release(claim, True, ()),
        lambda: queue.paused(claim, ()),
        lambda: queue.record(claim, done("late")),
        lambda: queue.heartbeat(claim),
    ):
        with pytest.raises(StaleClaim):
            late()
    assert make.keys_of_events(claim.job.id) == ["created", "failed"]


def test_an_accepted_cancel_is_kept(store, project, make):
    claim, queue = make.claim(), make.queue()
    store.jobs.cancel(project.id, claim.job.id)
    model = make.a_model(claim.job, "ft:x")
    for status in ("succeeded", "failed"):
        with pytest.raises(Conflict) as error:
            queue.finish(claim, status, events=done(status), models=[model])
        assert error.value.code == "cancel_wanted"
    job = queue.finish(claim, "cancelled", events=done("cancelled"))
    assert (job.status, job.wanted) == ("cancelled", None)
    assert make.keys_of_events(claim.job.id) == ["created", "cancelled"]
    assert store.models.list(project.id) == []


@pytest.mark.parametrize("wanted", [None, "pause", "cancel"])
@pytest.mark.parametrize("how", ["release", "rescue", "paused"])
def test_a_job_that_is_given_back_goes_where_it_is_wanted(store, project, make, moved_clock, wanted, how):
    claim, queue = make.claim(), make.queue()
    if wanted:
        getattr(store.jobs, wanted)(project.id, claim.job.id)
    if how == "release":
        queue.release(claim, True, done("stopped"))
    elif how == "paused":
        queue.paused(claim, done("stopped"))
    else:
        moved_clock.pass_seconds(30)
        assert queue.rescue() == [claim.job.id]
    job = store.jobs.find(claim.job.id)
    usual = "paused" if how == "paused" else "queued"
    assert job.status == {None: usual, "pause": "paused", "cancel": "cancelled"}[wanted]
    assert (job.owner, job.device, job.wanted) == (None, None, None)
    assert make.keys_of_events(claim.job.id).count("cancelled") == (wanted == "cancel")
    with pytest.raises(StaleClaim):
        queue.heartbeat(claim)


def test_a_poison_job_fails_after_three_tries_without_progress(store, make):
    make.job()
    queue = make.queue()
    for _ in range(2):
        queue.release(queue.claim(), True, ())  # made room, or got further
        assert queue.release(queue.claim(), False, ()).attempts == 1
        assert queue.release(queue.claim(), False, ()).attempts == 2
    queue.release(queue.claim(), True, ())
    for number in range(3):
        job = queue.release(queue.claim(), False, done(f"crash:{number}"))
    assert job.status == "failed"
    assert job.error["code"] == "worker_crashed"
    assert make.keys_of_events(job.id)[-2:] == ["crash:2", "failed"]
    next_job = make.job()
    assert queue.claim().job.id == next_job.id


def test_the_error_of_the_last_try_is_told(make):
    queue = make.queue(limits=Limits(crashes=1))
    error = {"code": "out_of_memory", "message": "9 GB are needed", "param": None}
    assert queue.release(make.claim(queue), False, (), error=error).error == error


def test_a_person_gives_a_job_new_tries(store, project, make):
    queue = make.queue()
    job = queue.release(make.claim(queue), False, ())
    store.jobs.pause(project.id, job.id)
    assert store.jobs.resume(project.id, job.id).attempts == 0


def test_a_stale_claim_writes_nothing(store, make, moved_clock):
    zombie, healthy = make.queue("zombie"), make.queue("healthy")
    for _ in range(20):
        old = make.claim(zombie)
        moved_clock.pass_seconds(30)
        assert healthy.rescue() == [old.job.id]
        new = healthy.claim()
        assert (new.job.id, new.fence) == (old.job.id, old.fence + 1)
        before = store.jobs.find(old.job.id)
        for write in (
            lambda old=old: zombie.record(old, done("late"), step=9),
            lambda old=old: zombie.finish(old, "succeeded", events=done("succeeded")),
            lambda old=old: zombie.release(old, True, done("late")),
            lambda old=old: zombie.paused(old, done("late")),
            lambda old=old: zombie.heartbeat(old),
        ):
            with pytest.raises(StaleClaim):
                write()
        assert store.jobs.find(old.job.id) == before
        assert make.keys_of_events(old.job.id) == ["created"]
        healthy.finish(new, "succeeded", events=done("succeeded"))


def test_heartbeats_keep_a_lease(make, moved_clock):
    queue = make.queue()
    claim = make.claim(queue)
    for _ in range(10):
        moved_clock.pass_seconds(10)
        queue.heartbeat(claim)
        moved_clock.pass_seconds(19)
        assert queue.rescue() == []
    moved_clock.pass_seconds(11)
    assert queue.rescue() == [claim.job.id]
    assert queue.rescue() == []


@pytest.mark.parametrize("jump", [3600, -3600])
def test_a_clock_that_jumps_rescues_nothing(make, moved_clock, jump):
    queue, other = make.queue("a"), make.queue("b")
    claim = make.claim(queue)
    for _ in range(5):
        moved_clock.jump(jump)
        assert queue.rescue() == other.rescue() == []
        moved_clock.pass_seconds(10)
        queue.heartbeat(claim)
    moved_clock.jump(jump)
    moved_clock.pass_seconds(30)
    assert other.rescue() == [claim.job.id]


def test_a_supervisor_that_is_lost_again_and_again_fails_the_job(store, make, moved_clock):
    make.job()
    queue = make.queue(limits=Limits(losses=3))
    for step in (1, 2):
        claim = queue.claim()
        queue.record(claim, step=step)  # got further: that does not count
        moved_clock.pass_seconds(30)
        queue.rescue()
    for _ in range(3):
        assert store.jobs.find(claim.job.id).status == "queued"
        queue.claim()
        moved_clock.pass_seconds(30)
        queue.rescue()
    job = store.jobs.find(claim.job.id)
    assert (job.status, job.error["code"]) == ("failed", "supervisor_lost")


def test_crashes_count_only_without_progress_between_them(store, make, moved_clock):
    """A server may be lost meanwhile: a job that got further under it begins to count anew."""
    make.job()
    queue = make.queue(limits=Limits(crashes=2))
    queue.release(queue.claim(), False, ())
    claim = queue.claim()
    queue.record(claim, step=1)
    moved_clock.pass_seconds(30)
    assert queue.rescue() == [claim.job.id]
    assert queue.release(queue.claim(), False, ()).status == "queued"
    queue.claim()
    moved_clock.pass_seconds(30)
    assert queue.rescue() == [claim.job.id]  # no step further
    assert queue.release(queue.claim(), False, ()).status == "failed"


def test_heartbeats_are_no_change_that_people_see(store, make):
    claim, queue = make.claim(), make.queue()
    told = []
    store.changed(told.append)
    queue.heartbeat(claim)
    assert told == []
    queue.record(claim, done("step:1"))
    assert told == [claim.job.id]


def test_a_queue_sets_only_its_own_fields(make):
    claim, queue = make.claim(), make.queue()
    with pytest.raises(TypeError):
        queue.finish(claim, "succeeded", events=[], project_id="proj_other")
