"""F10: many clients at once: uploads, pollers and followers, no fault, no long wait, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

import pytest
from crowd import Connection, Seen, allow_descriptors, descriptors_of, form, memory_of
from live import Live

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts through /proc")

MOST_MEMORY = 200 * 2**20
"""Bytes that the server may grow by."""
TURN = {"role": "assistant", "content": "x" * 900}
ROWS = "".join(
    json.dumps({"messages": [{"role": "user", "content": f"question {number}"}, TURN]}) + "\n" for number in range(100)
).encode()
"""About 100 kB."""


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    allow_descriptors(8192)
    server = Live(tmp_path_factory.mktemp("crowd") / "home", "--log-level", "warning").start()
    yield server
    server.stop()


def paused_job(live):
    """A job that happens to do nothing: who follows it waits."""
    client = live.client()
    file = client.files.create(file=("train.jsonl", ROWS), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model="luthier-nano", training_file=file.id)
    return client.fine_tuning.jobs.pause(job.id)


async def upload(live, seen):
    body, kind = form(ROWS)
    began = time.perf_counter()
    async with Connection(live.base_url, live.key) as connection:
        status, content = await connection.ask("POST", "/v1/files", body, kind)
        seen.note(status, began)
        if status == 200:
            assert json.loads(content)["bytes"] == len(ROWS)


async def poll(live, job, seconds, start, seen):
    """Ask once a second, each poller at its own part of the second."""
    async with Connection(live.base_url, live.key) as connection:
        for number in range(seconds):
            await asyncio.sleep(max(0.0, start + number - time.perf_counter()))
            began = time.perf_counter()
            status, _ = await connection.ask("GET", f"/v1/fine_tuning/jobs/{job}")
            seen.note(status, began)


async def follow(live, job, seen, ready):
    began = time.perf_counter()
    async with Connection(live.base_url, live.key) as connection:
        await connection.send("GET", f"/v1/fine_tuning/jobs/{job}/events?stream=true")
        status, headers = await connection.head()
        seen.note(status, began)
        ready.release()
        assert headers["content-type"].startswith("text/event-stream")
        return [event["id"] for event in await connection.events()]


async def crowd(live, job, count, seconds):
    """Everybody at once; gives (uploads, polls, followers, the streams' events)."""
    uploads, polls, followers = Seen(), Seen(), Seen()
    ready = asyncio.Semaphore(0)
    streams = [asyncio.create_task(follow(live, job, followers, ready)) for _ in range(count)]
    for _ in range(count):
        await asyncio.wait_for(ready.acquire(), 60)
    now = time.perf_counter()
    work = [poll(live, job, seconds, now + number / count, polls) for number in range(count)]
    work += [upload(live, uploads) for _ in range(count)]
    await asyncio.gather(*work)
    async with Connection(live.base_url, live.key) as connection:
        assert (await connection.ask("POST", f"/v1/fine_tuning/jobs/{job}/cancel"))[0] == 200
    return uploads, polls, followers, await asyncio.wait_for(asyncio.gather(*streams), 60)


def check(live, count, seconds):
    job = paused_job(live)
    asyncio.run(crowd(live, job.id, 2, 1))  # what is loaded once
    job = paused_job(live)
    memory, descriptors = memory_of(live.process.pid), descriptors_of(live.process.pid)
    uploads, polls, followers, streams = asyncio.run(crowd(live, job.id, count, seconds))
    print(
        f"{count} at once for {seconds} s: polls p50 {polls.share(0.5) * 1e3:.0f} ms, "
        f"p99 {polls.share(0.99) * 1e3:.0f} ms; uploads p99 {uploads.share(0.99):.2f} s; "
        f"followers p99 {followers.share(0.99):.2f} s; "
        f"memory +{(memory_of(live.process.pid) - memory) / 2**20:.0f} MiB",
        file=sys.stderr,
    )
    for seen, wanted in ((uploads, count), (polls, count * seconds), (followers, count)):
        assert set(seen.statuses) <= {200, 429}
        assert seen.statuses[200] == wanted
    assert memory_of(live.process.pid) - memory < MOST_MEMORY
    whole = [event.id for event in live.client().fine_tuning.jobs.list_events(job.id, limit=100)][::-1]
    assert len(set(whole)) == len(whole) >= 3
    assert all(stream == whole for stream in streams)
    until = time.monotonic() + 15
    while descriptors_of(live.process.pid) > descriptors + 4 and time.monotonic() < until:
        time.sleep(0.1)
    assert descriptors_of(live.process.pid) <= descriptors + 4
    assert live.healthy()
    return polls


def test_a_hundred_at_once(crowded):
    assert check(crowded, 100, 3).share(0.99) < 2.0  # seconds, on a machine that may do other work as well


@pytest.mark.slow
def test_a_thousand_at_once(crowded):
    assert check(crowded, 1000, 60).share(0.99) < 1.0
