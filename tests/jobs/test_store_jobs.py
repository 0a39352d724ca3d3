"""Jobs as people see them."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sql
from making import Making

from luthier.jobs.errors import Conflict, LimitReached, NotFound
from luthier.jobs.limits import Limits
from luthier.jobs.records import NewEvent
from luthier.jobs.store import Store

CREATED = [NewEvent("created", "Created fine-tuning job", data={"ü": [1, None, 1.5]}, created_at=12)]


def test_a_job_comes_back_as_it_was_created(store, project, make):
    job = make.a_job(
        status="validating_files",
        metadata={"a": "b", "ü'\"": "["},
        recipe={"deep": {"list": [1, 2.5, None, True, "\u2028"]}},
        integrations=[{"type": "wandb"}],
        priority=-2,
        parent="ft:a:b::c",
        key_id="key_1",
    )
    created, new = store.jobs.create(job, CREATED)
    assert new
    assert created == store.jobs.get(project.id, job.id) == store.jobs.find(job.id)
    for name in ("id", "metadata", "recipe", "integrations", "priority", "parent", "key_id", "status"):
        assert getattr(created, name) == getattr(job, name)
    (event,) = store.jobs.events(project.id, job.id).items
    assert (event.seq, event.key, event.data, event.created_at) == (1, "created", {"ü": [1, None, 1.5]}, 12)
    assert event.id.startswith("ftevent-")


def test_the_same_key_gives_the_first_job(store, project, make):
    first, new = store.jobs.create(make.a_job(), CREATED, "once")
    assert new
    again, new = store.jobs.create(make.a_job(seed=8), CREATED, "once")
    assert (again, new) == (first, False)
    assert store.jobs.list(project.id).items == [first]
    other = store.projects.create("other")
    assert store.jobs.create(make.a_job(project_id=other.id), CREATED, "once")[1]
    assert store.jobs.create(make.a_job(), CREATED)[1]
    assert store.jobs.create(make.a_job(), CREATED)[1]


def test_the_same_key_at_once_gives_one_job(store, project, make):
    ids = []

    def create():
        ids.append(store.jobs.create(make.a_job(), CREATED, "once")[0].id)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1
    assert len(store.jobs.list(project.id).items) == 1


@pytest.mark.parametrize("limits", [Limits(per_key=2), Limits(per_project=2)])
def test_no_more_jobs_than_the_limit(store, project, make, limits):
    jobs = [store.jobs.create(make.a_job(key_id="key_1"), CREATED, limits=limits)[0] for _ in range(2)]
    with pytest.raises(LimitReached) as error:
        store.jobs.create(make.a_job(key_id="key_1"), CREATED, limits=limits)
    assert error.value.code == "rate_limit_exceeded"
    others_count = limits.per_project is not None
    if not others_count:
        store.jobs.create(make.a_job(key_id="key_2"), CREATED, limits=limits)
    store.jobs.pause(project.id, jobs[0].id)
    with pytest.raises(LimitReached):  # a paused job is not over
        store.jobs.create(make.a_job(key_id="key_1"), CREATED, limits=limits)
    store.jobs.cancel(project.id, jobs[0].id)
    store.jobs.create(make.a_job(key_id="key_1"), CREATED, limits=limits)


def test_a_limit_does_not_stop_a_repeated_call(store, make):
    first, _ = store.jobs.create(make.a_job(), CREATED, "once", limits=Limits(per_project=1))
    assert store.jobs.create(make.a_job(), CREATED, "once", limits=Limits(per_project=1)) == (first, False)


def test_a_job_of_another_project_is_not_there(store, make):
    job = make.job()
    store.jobs.find(job.id)  # now it is in memory
    other = store.projects.create("other").id
    for wrong in (
        lambda: store.jobs.get(other, job.id),
        lambda: store.jobs.events(other, job.id),
        lambda: store.jobs.checkpoints(other, job.id),
        lambda: store.jobs.cancel(other, job.id),
        lambda: store.jobs.pause(other, job.id),
        lambda: store.jobs.resume(other, job.id),
        lambda: store.jobs.list(other, after=job.id),
    ):
        with pytest.raises(NotFound):
            wrong()
    assert store.jobs.list(other).items == []


def test_jobs_are_paged_and_filtered(store, project, make):
    plain = make.job()
    tagged = [make.job(metadata={"team": "a", "run": str(number)}) for number in range(3)]
    assert store.jobs.list(project.id).items == [*reversed(tagged), plain]
    first = store.jobs.list(project.id, limit=2, metadata={"team": "a"})
    assert (first.items, first.has_more) == ([tagged[2], tagged[1]], True)
    second = store.jobs.list(project.id, limit=2, metadata={"team": "a"}, after=tagged[1].id)
    assert (second.items, second.has_more) == ([tagged[0]], False)
    assert store.jobs.list(project.id, metadata={"team": "a", "run": "1"}).items == [tagged[1]]
    assert store.jobs.list(project.id, metadata={"team": "b"}).items == []
    assert store.jobs.list(project.id, metadata={"run": "a"}).items == []
    assert store.jobs.list(project.id, metadata={}).items == [plain]


def test_events_are_paged_both_ways(store, project, make):
    claim = make.claim()
    queue = make.queue()
    queue.record(claim, [NewEvent(f"step:{number}", str(number)) for number in range(1, 7)])
    newest = store.jobs.events(project.id, claim.job.id, limit=3)
    assert ([event.key for event in newest.items], newest.has_more) == (["step:6", "step:5", "step:4"], True)
    rest = store.jobs.events(project.id, claim.job.id, after=newest.items[-1].id, limit=4)
    assert ([event.seq for event in rest.items], rest.has_more) == ([4, 3, 2, 1], False)
    later = store.jobs.events(project.id, claim.job.id, after=rest.items[0].id, order="asc")
    assert [event.seq for event in later.items] == [5, 6, 7]
    with pytest.raises(NotFound):
        store.jobs.events(project.id, make.job().id, after=newest.items[0].id)


def test_what_was_read_is_never_old(store, project, make):
    job = make.job()
    for step in range(1, 4):
        assert store.jobs.get(project.id, job.id).status == "queued"
        assert len(store.jobs.events(project.id, job.id).items) == 2 * step - 1
        store.jobs.pause(project.id, job.id, [NewEvent(f"paused:{step}", "")])
        assert store.jobs.get(project.id, job.id).status == "paused"
        store.jobs.resume(project.id, job.id, [NewEvent(f"resumed:{step}", "")])


def test_polls_of_an_unchanged_job_need_no_database(sqlite_url, moved_clock):
    store = Store.open(sqlite_url, clock=moved_clock)
    project = store.projects.default()
    job = Making(store, project).job()
    _, secret = store.keys.create(project.id, "x", "read")

    def poll():
        identity = store.keys.authenticate(secret)
        return identity, store.jobs.get(project.id, job.id), store.jobs.events(project.id, job.id)

    try:
        assert store.jobs.known(project.id, job.id) is None
        answers = poll()
        assert store.jobs.known(project.id, job.id) == job
        assert store.jobs.known("proj_other", job.id) is None
        with store.database.write() as connection:  # nobody but the store does that
            for table in ("events", "jobs", "keys"):
                connection.execute(sql.text(f"DELETE FROM {table}"))
        assert poll() == answers
    finally:
        store.close()


def test_files_are_good(store, make):
    job = make.job(status="validating_files")
    told = []
    store.changed(told.append)
    done = store.jobs.validated(job.id, {"total_steps": 9, "result": {"rows": 3}}, [NewEvent("validated", "")])
    assert (done.status, done.total_steps, done.result) == ("queued", 9, {"rows": 3})
    assert done.version > job.version
    assert told == [job.id]
    with pytest.raises(Conflict):
        store.jobs.validated(job.id, {}, [])
    with pytest.raises(Conflict):
        store.jobs.rejected(job.id, {"code": "x", "message": "m"}, [])


def test_only_fields_of_a_supervisor_can_be_set(store, make):
    job = make.job(status="validating_files")
    for name in ("status", "fence", "project_id", "validated", "number", "nothing"):
        with pytest.raises(TypeError, match=name):
            store.jobs.validated(job.id, {name: 1}, [])


def test_files_are_bad(store, project, make):
    job = make.job(status="validating_files")
    error = {"code": "invalid_training_file", "message": "Line 3: no", "param": "training_file"}
    done = store.jobs.rejected(job.id, error, [])
    assert (done.status, done.error) == ("failed", error)
    assert done.finished_at is not None
    assert make.keys_of_events(job.id) == ["created", "failed"]
    assert "Line 3" in store.jobs.events(project.id, job.id).items[0].message
    assert make.queue().claim() is None


@pytest.mark.parametrize("status", ["validating_files", "queued"])
def test_a_waiting_job_is_cancelled_at_once(store, project, make, status):
    job = make.job(status=status)
    done = store.jobs.cancel(project.id, job.id, [NewEvent("cancelled", "Stopped by me")])
    assert done.status == "cancelled"
    assert done.finished_at is not None
    assert store.jobs.events(project.id, job.id).items[0].message == "Stopped by me"
    for late in (
        lambda: store.jobs.cancel(project.id, job.id),
        lambda: store.jobs.pause(project.id, job.id),
        lambda: store.jobs.resume(project.id, job.id),
        lambda: store.jobs.validated(job.id, {}, []),
    ):
        with pytest.raises(Conflict):
            late()
    assert make.keys_of_events(job.id) == ["created", "cancelled"]
    assert make.queue().claim() is None


def test_a_job_that_is_paused_while_its_files_are_checked(store, project, make):
    checked = make.job(status="validating_files")
    store.jobs.pause(project.id, checked.id)
    assert store.jobs.validated(checked.id, {}, []).status == "paused"
    assert store.jobs.resume(project.id, checked.id).status == "queued"
    unchecked = make.job(status="validating_files")
    store.jobs.pause(project.id, unchecked.id)
    assert store.jobs.resume(project.id, unchecked.id).status == "validating_files"
    bad = make.job(status="validating_files")
    store.jobs.pause(project.id, bad.id)
    assert store.jobs.rejected(bad.id, {"code": "x", "message": "m"}, []).status == "failed"


def test_a_running_job_is_asked(store, project, make):
    claim = make.claim()
    queue = make.queue()
    assert queue.heartbeat(claim) is None
    asked = store.jobs.pause(project.id, claim.job.id)
    assert (asked.status, asked.wanted) == ("running", "pause")
    assert queue.heartbeat(claim) == "pause"
    with pytest.raises(Conflict):
        store.jobs.resume(project.id, claim.job.id)
    asked = store.jobs.cancel(project.id, claim.job.id)
    assert (asked.status, asked.wanted) == ("running", "cancel")
    assert store.jobs.cancel(project.id, claim.job.id) == asked
    with pytest.raises(Conflict):
        store.jobs.pause(project.id, claim.job.id)
    assert queue.heartbeat(claim) == "cancel"


def test_supervisors_see_every_project(store, make):
    other = store.projects.create("other")
    first = make.job(status="validating_files", project_id=other.id)
    second = make.job(status="validating_files")
    make.job()
    assert store.jobs.with_status("validating_files") == [first, second]
    assert store.jobs.counts() == {"validating_files": 2, "queued": 1}


def test_a_listener_that_fails_stops_nothing(store, make, caplog):
    told = []

    def broken(id):
        raise RuntimeError("no")

    store.changed(broken)
    store.changed(told.append)
    job = make.job()
    assert told == [job.id]
    assert "a listener failed" in caplog.text


def test_a_change_that_failed_is_not_told_and_not_seen(store, project, make):
    job = make.job()
    told = []
    store.changed(told.append)
    with pytest.raises(Exception, match="surrogate"):
        store.jobs.cancel(project.id, job.id, [NewEvent("cancelled", "\udc00")])
    assert told == []
    assert store.jobs.get(project.id, job.id) == job
    assert make.keys_of_events(job.id) == ["created"]
