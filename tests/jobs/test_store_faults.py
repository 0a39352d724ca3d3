"""Full disks, failing disks, lost databases and killed processes: an error that is ours, and nothing half done."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading

import pytest
from making import Making

from luthier.core.errors import LuthierError, StorageError
from luthier.jobs.errors import Unavailable
from luthier.jobs.records import NewEvent
from luthier.jobs.store import Store


@pytest.fixture
def sqlite_store(sqlite_url):
    store = Store.open(sqlite_url)
    yield store
    store.close()


def test_a_full_disk_changes_nothing(sqlite_store):
    make = Making(sqlite_store, sqlite_store.projects.default())
    job = make.job()

    def pages(most):
        with sqlite_store.database.read() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count={most}")

    pages(1)  # not below what there is: the file cannot grow
    with pytest.raises(StorageError) as error:
        sqlite_store.jobs.pause(job.project_id, job.id, [NewEvent("paused", "x" * 200_000)])
    assert error.value.code == "disk_full"
    assert sqlite_store.jobs.find(job.id) == job
    pages(10**6)
    assert sqlite_store.jobs.cancel(job.project_id, job.id).status == "cancelled"
    assert make.keys_of_events(job.id)[-1] == "cancelled"


def test_a_write_that_the_disk_refuses_changes_nothing(sqlite_store):
    make = Making(sqlite_store, sqlite_store.projects.default())
    job = make.job()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, limits[1]))
    try:
        with pytest.raises(StorageError) as error:
            sqlite_store.jobs.cancel(job.project_id, job.id)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.code in ("write_failed", "disk_full")
    assert sqlite_store.jobs.find(job.id) == job
    assert sqlite_store.jobs.cancel(job.project_id, job.id).status == "cancelled"


def test_a_file_that_somebody_reads_for_long_is_unavailable(sqlite_store, sqlite_url, monkeypatch):
    with sqlite_store.database.read() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=10")
    reader = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    reader.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(Unavailable):
            sqlite_store.projects.create("x")
    finally:
        reader.close()
    sqlite_store.projects.create("x")


JOURNEY = """
    import os, sys
    sys.path.insert(0, sys.argv[2])
    from making import Making
    from luthier.core.errors import LuthierError
    from luthier.jobs.records import NewEvent
    from luthier.jobs.store import Store

    def say(*words):
        print(*words, flush=True)

    try:
        store = Store.open(sys.argv[1])
        make = Making(store, store.projects.default())
        queue = make.queue(f"supervisor-{os.getpid()}")
        for number in range(int(sys.argv[3])):
            say("created", make.job().id)
            claim = queue.claim()
            queue.record(claim, [NewEvent("step:1", "")], step=1)
            say("recorded", claim.job.id)
            queue.finish(claim, "succeeded", events=[NewEvent("succeeded", "")])
            say("succeeded", claim.job.id)
        say("done")
    except LuthierError as error:
        say("error", error.code)
"""


def journey(store, rounds, *wrapper):
    """Run it; gives its lines and its exit code."""
    place = os.path.dirname(__file__)
    command = [*wrapper, sys.executable, "-c", textwrap.dedent(JOURNEY), store, place, str(rounds)]
    run = subprocess.run(command, capture_output=True, text=True)
    return run.stdout.splitlines(), run.returncode, run.stderr


def check(url, lines):
    """What was said to be done is there; nothing is half there; and it goes on."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    store = Store.open(url)
    try:
        make = Making(store, store.projects.default())
        said = dict(reversed(line.split()) for line in lines if line.count(" ") == 1 and not line.startswith("error"))
        for id, word in said.items():
            keys = make.keys_of_events(id)
            assert {"created": "created", "recorded": "step:1", "succeeded": "succeeded"}[word] in keys
            assert word != "succeeded" or store.jobs.find(id).status == "succeeded"
        for job in store.jobs.list(make.project.id, limit=10_000).items:
            assert (job.status == "succeeded") == ("succeeded" in make.keys_of_events(job.id))
        make.job()
    finally:
        store.close()


SYNC, WRITE = "fsync,fdatasync", "pwrite64"
SOME = (2, 7, 15)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt-get install strace)")
@pytest.mark.parametrize(
    ("calls", "fault", "numbers"),
    [
        (SYNC, "error=EIO", SOME),
        (SYNC, "signal=SIGKILL", SOME),
        (WRITE, "error=ENOSPC", SOME),
        *(
            pytest.param(calls, fault, range(1, 1000, stride), marks=pytest.mark.slow)
            for calls, stride in ((SYNC, 1), (WRITE, 3))
            for fault in ("error=EIO", "error=ENOSPC", "signal=SIGKILL")
        ),
    ],
)
def test_a_call_that_fails_or_kills_loses_nothing(sqlite_url, tmp_path, calls, fault, numbers):
    """The n-th call of the kernel fails, or is the last; over all n until there is no such call any more."""
    trace = tmp_path / "trace"
    happened = 0
    for number in numbers:
        wrapper = ["strace", "-f", "-y", "-qq", "-o", str(trace), "-e", f"trace={calls}"]
        lines, code, errors = journey(sqlite_url, 1, *wrapper, "-e", f"inject={calls}:{fault}:when={number}")
        assert "Traceback" not in errors, errors
        check(sqlite_url, lines)
        killed = code in (-signal.SIGKILL, 128 + signal.SIGKILL)
        failed = re.findall(r"<([^>]*)>.*INJECTED", trace.read_text())
        if not killed and not failed:
            assert lines[-1] == "done"
            break
        happened += 1
        # SQLite itself takes no notice of a folder that cannot be synced.
        expected = killed or lines[-1].startswith("error ") or os.path.isdir(failed[0])
        assert expected, (number, failed, lines)
    assert happened >= (len(SOME) if numbers == SOME else 12)


@pytest.mark.parametrize("rounds", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_what_was_acknowledged_survives_a_kill(sqlite_url, rounds):
    for number in range(rounds):
        command = [sys.executable, "-c", textwrap.dedent(JOURNEY), sqlite_url, os.path.dirname(__file__), "1000"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
            lines = [run.stdout.readline() for _ in range(2 + 3 * number % 20)]
            run.kill()
            lines += run.stdout.readlines()
        check(sqlite_url, [line for line in lines if line.endswith("\n")])


def test_a_postgres_that_comes_back_is_used_again(postgres, postgres_url):
    store = Store.open(postgres_url)
    try:
        make = Making(store, store.projects.default())
        queue = make.queue()
        job, claim = make.job(priority=-1), make.claim(queue)
        _, secret = store.keys.create(make.project.id, "x", "read")
        postgres.stop(crash=True)
        for call in (
            lambda: store.ping(),
            lambda: store.jobs.get(make.project.id, job.id),
            lambda: make.job(),
            lambda: queue.claim(),
            lambda: queue.heartbeat(claim),
            lambda: queue.finish(claim, "succeeded", events=[]),
            lambda: store.keys.authenticate("lu-other"),
        ):
            with pytest.raises(Unavailable) as error:
                call()
            assert error.value.code == "database_unavailable"
        postgres.start()
        store.ping()
        assert store.keys.authenticate(secret)
        assert queue.finish(claim, "succeeded", events=[]).status == "succeeded"
    finally:
        if not postgres.running:
            postgres.start()
        store.close()


@pytest.mark.parametrize(("jobs", "restarts"), [(15, 1), pytest.param(500, 12, marks=pytest.mark.slow)])
def test_a_postgres_that_restarts_under_load_loses_and_repeats_nothing(postgres, postgres_url, jobs, restarts):
    store = Store.open(postgres_url)
    over = threading.Event()
    problems = []

    def patiently(call):
        while True:
            try:
                return call()
            except Unavailable:
                over.wait(0.05)

    def create(start):
        for number in range(start, jobs, 3):
            patiently(lambda number=number: store.jobs.create(make.a_job(), [NewEvent("created", "")], f"key-{number}"))

    def work(owner):
        queue = make.queue(owner, lease_seconds=2)
        while not over.is_set():
            try:
                queue.rescue()
                claim = queue.claim()
                if claim is None:
                    over.wait(0.02)
                    continue
                for step in (1, 2):
                    patiently(lambda claim=claim, step=step: queue.record(claim, [NewEvent(f"step:{step}", "")], step))
                arguments = {"events": [NewEvent("succeeded", "")]}
                patiently(lambda claim=claim, arguments=arguments: queue.finish(claim, "succeeded", **arguments))
            except Unavailable:
                over.wait(0.05)
            except LuthierError as error:
                if error.code != "stale_claim":
                    problems.append(error)

    try:
        make = Making(store, store.projects.default())
        workers = [threading.Thread(target=work, args=(f"worker-{number}",)) for number in range(3)]
        creators = [threading.Thread(target=create, args=(start,)) for start in range(3)]
        for thread in (*workers, *creators):
            thread.start()
        for _ in range(restarts):
            over.wait(0.3 if restarts == 1 else 5)
            postgres.restart(crash=True)
        for thread in creators:
            thread.join()
        while store.jobs.counts() != {"succeeded": jobs} and not problems:
            over.wait(0.05)
        over.set()
        for thread in workers:
            thread.join()
        assert problems == []
        for job in store.jobs.list(make.project.id, limit=10_000).items:
            assert make.keys_of_events(job.id) == ["created", "step:1", "step:2", "succeeded"]
    finally:
        over.set()
        store.close()
