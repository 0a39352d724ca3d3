"""F15: two gigabytes of JSON lines come in and are checked; memory does not grow with them in the server."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from crowd import form, memory_of
from live import Live

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="measures through /proc")

MOST_SERVER = 300 * 2**20
"""Resident bytes of a server that takes any file."""
MOST_GROWN = 64 * 2**20


def rows(count: int, bad_every: int = 0, padding: int = 0) -> Iterator[bytes]:
    """Conversations; every `bad_every`th line is no JSON."""
    more = "x" * padding
    for number in range(count):
        if bad_every and number % bad_every == 0:
            yield b'{"messages": [{"role":\n'
            continue
        turns = [{"role": "user", "content": f"What is {number} times 7? {more}"},
                 {"role": "assistant", "content": f"It is {number * 7}."}]  # fmt: skip
        yield json.dumps({"messages": turns}).encode() + b"\n"


def write(path: Path, lines: Iterator[bytes]) -> int:
    with path.open("wb") as file:
        file.writelines(lines)
    return path.stat().st_size


class Peak(threading.Thread):
    """The most memory that a process has while this runs."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.bytes, self.over = pid, 0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.05):
            try:
                self.bytes = max(self.bytes, memory_of(self.pid))
            except (OSError, StopIteration):  # it has ended
                return


def upload(live: Live, path: Path) -> tuple[str, float, Peak]:
    """Send a file by one request, in a stream; (its id, seconds, the server's memory meanwhile)."""
    peak = Peak(live.process.pid)
    peak.start()
    began = time.monotonic()
    head, tail = form(b"\0")[0].split(b"\0")
    connection = http.client.HTTPConnection(live.base_url.removeprefix("http://"), timeout=300)
    headers = {
        "Authorization": f"Bearer {live.key}", "Content-Type": form(b"")[1],
        "Content-Length": str(len(head) + path.stat().st_size + len(tail)),
    }  # fmt: skip
    with path.open("rb") as file:
        pieces = iter(lambda: file.read(1 << 20), b"")
        connection.request("POST", "/v1/files", itertools.chain([head], pieces, [tail]), headers)
        answer = connection.getresponse()
        told = json.loads(answer.read())
    connection.close()
    seconds = time.monotonic() - began
    peak.over.set()
    peak.join()
    assert answer.status == 200, told
    assert told["bytes"] == path.stat().st_size
    return told["id"], seconds, peak


def check_upload(live: Live, path: Path, lines: int, padding: int) -> None:
    size = write(path, rows(lines, padding=padding))
    before = memory_of(live.process.pid)
    file_id, seconds, peak = upload(live, path)
    print(
        f"{lines:,} lines, {size / 1e6:,.0f} MB came in {seconds:.1f} s ({size / 1e6 / seconds:.0f} MB/s); "
        f"the server had {peak.bytes / 2**20:.0f} MiB at most, {(peak.bytes - before) / 2**20:.0f} more than before",
        file=sys.stderr,
    )
    assert peak.bytes <= MOST_SERVER
    assert peak.bytes - before <= MOST_GROWN
    stored = live.home / "artefacts" / "files" / file_id
    assert stored.stat().st_size == size


def check(path: Path, bad: set[int], folder: Path) -> None:
    """`luthier check` in a process of its own tells the first hundred of the `bad` lines, and all others in a file."""
    findings = folder / "findings.jsonl"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "luthier", "check", str(path), "--json", "--findings", str(findings)],
        stdout=subprocess.PIPE, env=environment,
    )  # fmt: skip
    peak = Peak(process.pid)
    peak.start()
    answer = json.loads(process.communicate()[0])
    peak.over.set()
    peak.join()
    print(f"checked in {time.monotonic() - began:.0f} s with {peak.bytes / 2**20:.0f} MiB", file=sys.stderr)
    assert process.returncode == 1
    assert answer["ok"] is False
    assert len(answer["findings"]) == 100
    assert {finding["severity"] for finding in answer["findings"]} == {"error"}
    others = [json.loads(line) for line in findings.read_text(encoding="utf-8").splitlines()]
    wrong = [one["line"] for one in [*answer["findings"], *others] if one["code"] == "not_json"]
    assert len(wrong) == len(bad)
    assert set(wrong) == bad


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Live]:
    server = Live(tmp_path / "home", "--log-level", "warning").start()
    yield server
    server.stop()


def test_a_file_comes_in_without_being_held_in_memory(quiet: Live, tmp_path: Path) -> None:
    check_upload(quiet, tmp_path / "train.jsonl", 100_000, padding=900)


def test_the_bad_lines_of_a_file_are_all_told(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", rows(4000, bad_every=20))
    check(tmp_path / "train.jsonl", set(range(1, 4000, 20)), tmp_path)


def test_a_line_that_is_too_long_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b'{"messages": "' + b"x" * (100 * 2**20) + b'"}\n' + b"".join(rows(12)))
    command = [sys.executable, "-m", "luthier", "check", str(path), "--json"]
    found = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert found.returncode == 1
    assert "Traceback" not in found.stderr
    assert (json.loads(found.stdout)["findings"][0]["line"], json.loads(found.stdout)["ok"]) == (1, False)


@pytest.mark.slow
def test_two_gigabytes_come_in_without_being_held_in_memory(quiet: Live, tmp_path: Path) -> None:
    check_upload(quiet, tmp_path / "train.jsonl", 5_000_000, padding=290)


@pytest.mark.slow
def test_the_bad_lines_of_a_million_are_all_told(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", rows(1_000_000, bad_every=100))
    check(tmp_path / "train.jsonl", set(range(1, 1_000_000, 100)), tmp_path)
