"""F8: a crowd of clients that send or read as slowly as they can, on a real server, while others are answered."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from crowd import Connection, Seen, allow_descriptors, descriptors_of, memory_of
from live import Live

sys.path.append(str(Path(__file__).resolve().parent.parent / "jobs"))

from workshop import orders

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts through /proc")

LAUNCHER = (str(Path(__file__).with_name("serve_with_fake.py")),)
MOST_MEMORY = 64 * 2**20
"""Bytes that the server may grow by."""
SPARE = 3.0
"""Seconds after a deadline, on a machine that may do other work as well."""
DOWNLOAD = 16 * 2**20
KEPT = 3
"""Seconds that a connection is kept after its answer, such as a stream that came to its end."""


@dataclass(frozen=True)
class Crowd:
    """How many there are of each, and the server's deadlines in seconds."""

    headers: int
    bodies: int
    followers: int
    downloads: int
    header_seconds: float
    body_seconds: float
    stall_seconds: float
    stream_seconds: float
    every: float

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LUTHIER_HEADER_SECONDS": str(self.header_seconds), "LUTHIER_BODY_GRACE_SECONDS": str(self.body_seconds),
            "LUTHIER_STALL_SECONDS": str(self.stall_seconds), "LUTHIER_STREAM_SECONDS": str(self.stream_seconds),
            "LUTHIER_KEEP_ALIVE_SECONDS": str(KEPT),
        }  # fmt: skip

    @property
    def longest(self) -> float:
        turns = 2.0 * self.bodies / 32  # an upload waits for its turn at most so long
        slowest = max(
            self.header_seconds, self.body_seconds + turns, 2 * self.stall_seconds, self.stream_seconds + KEPT
        )
        return slowest + SPARE


SMALL = Crowd(60, 12, 24, 12, header_seconds=2, body_seconds=2, stall_seconds=2, stream_seconds=4, every=0.2)
LARGE = Crowd(500, 100, 100, 100, header_seconds=13, body_seconds=10, stall_seconds=30, stream_seconds=50, every=1)


async def trickle(live: Live, start: bytes, every: float, whole: list[float]) -> None:
    """Begin a request and go on by a byte at a time, until the server has enough; notes how long that took."""
    host, _, port = live.base_url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    began = time.perf_counter()
    writer.write(start)
    end = asyncio.create_task(reader.read())
    while not end.done():
        writer.write(b"x")
        await asyncio.wait([end], timeout=every)
    whole.append(time.perf_counter() - began)
    with contextlib.suppress(OSError):
        end.result()
    writer.close()


def never_reads(live: Live, path: str, buffer: int = 0) -> socket.socket:
    """Ask for something and take nothing of it. `buffer`: bytes that the kernel takes; 0: as many as it likes."""
    host, _, port = live.base_url.removeprefix("http://").partition(":")
    connection = socket.socket()
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.connect((host, int(port)))
    connection.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {live.key}\r\n\r\n".encode()
    )
    return connection


class Pulse:
    """Healthy clients all the while, and the memory that the server has meanwhile."""

    def __init__(self, live: Live, job: str) -> None:
        self.live, self.job = live, job
        self.seen = Seen()
        self.most = 0
        self.over = False

    async def beat(self) -> None:
        paths = ("/v1/models", f"/v1/fine_tuning/jobs/{self.job}", "/v1/files?limit=10")
        async with Connection(self.live.base_url, self.live.key) as connection:
            number = 0
            while not self.over:
                began = time.perf_counter()
                status, _ = await connection.ask("GET", paths[number % 3])
                self.seen.note(status, began)
                self.most = max(self.most, memory_of(self.live.process.pid))
                number += 1
                await asyncio.sleep(0.05)


def prepared(live: Live) -> tuple[str, str, str]:
    """A job that has few events and waits, one that tells all the time, and a file to download."""
    client = live.client()
    quiet = client.files.create(file=("quiet.jsonl", orders(seconds=0.1)), purpose="fine-tune")
    waiting = client.fine_tuning.jobs.create(model="luthier-nano", training_file=quiet.id)
    client.fine_tuning.jobs.pause(waiting.id)
    long = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 50}}}
    loud = client.files.create(file=("loud.jsonl", orders(seconds=0.1, told="x" * 500)), purpose="fine-tune")
    telling = client.fine_tuning.jobs.create(model="luthier-nano", training_file=loud.id, method=long)
    large = client.files.create(file=("large.bin", b"\x01" * DOWNLOAD), purpose="user_data")
    return waiting.id, telling.id, large.id


async def besiege(
    live: Live, crowd: Crowd, jobs: tuple[str, str, str], base: int
) -> tuple[Pulse, list[float], list[float]]:
    waiting, telling, large = jobs
    began = time.monotonic()
    pulse = Pulse(live, waiting)
    beating = [asyncio.create_task(pulse.beat()) for _ in range(3)]
    readers = [
        never_reads(live, f"/v1/fine_tuning/jobs/{telling}/events?stream=true", 2048)
        for _ in range(crowd.followers // 2)
    ]
    readers += [
        never_reads(live, f"/v1/fine_tuning/jobs/{waiting}/events?stream=true") for _ in range(crowd.followers // 2)
    ]
    readers += [never_reads(live, f"/v1/files/{large}/content") for _ in range(crowd.downloads)]
    headers: list[float] = []
    bodies: list[float] = []
    key = f"Host: localhost\r\nAuthorization: Bearer {live.key}\r\nContent-Length: 9999999\r\n"
    upload = f"POST /v1/files HTTP/1.1\r\n{key}Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    recipe = f"POST /luthier/v1/jobs HTTP/1.1\r\n{key}Content-Type: application/json\r\n\r\n"
    work = [trickle(live, b"GET /v1/files HTTP/1.1\r\nX-Slow: ", crowd.every, headers) for _ in range(crowd.headers)]
    work += [
        trickle(live, (upload, recipe)[number % 2].encode(), crowd.every, bodies) for number in range(crowd.bodies)
    ]
    await asyncio.wait_for(asyncio.gather(*work), crowd.longest + 60)
    while (left := descriptors_of(live.process.pid) - base - len(beating)) > 4:
        assert time.monotonic() - began < crowd.longest + SPARE + 10, f"{left} connections are still there"
        await asyncio.sleep(0.1)
    pulse.over = True
    await asyncio.gather(*beating)
    for reader in readers:
        reader.close()
    return pulse, headers, bodies


def check(home: Path, crowd: Crowd, longest_answer: float) -> None:
    allow_descriptors(8192)
    live = Live(home, "--log-level", "warning", environment=crowd.environment, program=LAUNCHER).start()
    try:
        jobs = prepared(live)
        time.sleep(1.0)
        memory, descriptors = memory_of(live.process.pid), descriptors_of(live.process.pid)
        began = time.monotonic()
        pulse, headers, bodies = asyncio.run(besiege(live, crowd, jobs, descriptors))
        grown = pulse.most - memory
        closed = f"headers closed within {max(headers):.1f} s, bodies {max(bodies):.1f} s"
        print(
            f"{crowd.headers} headers, {crowd.bodies} bodies, {crowd.followers} followers, {crowd.downloads} downloads:"
            " "
            f"{closed}, all {time.monotonic() - began:.0f} s; {sum(pulse.seen.statuses.values())} healthy requests, "
            f"p50 {pulse.seen.share(0.5) * 1e3:.0f} ms, p99 {pulse.seen.share(0.99) * 1e3:.0f} ms; "
            f"memory +{grown / 2**20:.0f} MiB",
            file=sys.stderr,
        )
        assert set(pulse.seen.statuses) == {200}
        assert pulse.seen.share(0.99) < longest_answer
        assert max(headers) < crowd.header_seconds + 2.0
        assert max(bodies) < crowd.body_seconds + 2.0 * crowd.bodies / 32 + SPARE + 3.0
        assert grown <= MOST_MEMORY
        until = time.monotonic() + 15
        while descriptors_of(live.process.pid) > descriptors + 4 and time.monotonic() < until:
            time.sleep(0.1)
        assert descriptors_of(live.process.pid) <= descriptors + 4
        assert live.healthy()
        assert "Traceback" not in live.logs()
    finally:
        live.stop()


def test_a_slow_crowd_leaves_others_alone_and_is_let_go(tmp_path: Path) -> None:
    check(tmp_path / "home", SMALL, 2.0)


@pytest.mark.slow
def test_a_large_slow_crowd_leaves_others_alone_and_is_let_go(tmp_path: Path) -> None:
    check(tmp_path / "home", LARGE, 1.0)
