"""The service under load, as a table: polls while a job trains, a big upload, and how soon a job runs.

    .venv/bin/python -m benchmarks.service [--pollers 1000] [--seconds 60] [--megabytes 1024] [--write]

Starts a `luthier serve` of its own on SQLite and a local folder. `--write` keeps the results in
docs/benchmarks/service.jsonl, newest last, and writes service.md from them.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import re
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.language_speed import machine
from benchmarks.service_clients import Server, create_job, measure, memory

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "benchmarks" / "service.jsonl"
CHUNK = 1 << 20
LINE = json.dumps({"messages": [{"role": "user", "content": "q" * 400}, {"role": "assistant", "content": "a" * 400}]})
HEADER = """\
# The service under load

Written by `python -m benchmarks.service --write` from service.jsonl; the newest run. One `luthier serve` on SQLite and
a local folder, its clients, the inference engine and the job that trains share the machine's cores.

"""
ROWS = (
    ("poll_p99_ms", "{pollers:,} clients that ask for their job once a second for {seconds:g} s while it trains: 99 of 100 "
     "answers within", "{poll_p99_ms:.0f} ms (median {poll_p50_ms:.0f}, slowest {poll_max_ms:.0f}; {answers:,} answers)",
     "under 1,000 ms"),
    ("upload_growth_mb", "upload of {upload_mb:,} MB in one request: the server's memory grows by",
     "{upload_growth_mb:.1f} MB (in {upload_seconds:.0f} s)", "under 16 MB"),
    ("running_seconds", "from `create` to `running`, the slowest of {creations} jobs after one another",
     "{running_seconds:.2f} s (fastest {running_fastest:.2f} s)", "under 2 s"),
)  # fmt: skip


def peak_megabytes(pid: int) -> float:
    """The most that a process held since `forget_peak`."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def form(megabytes: int) -> Iterator[bytes]:
    """A multipart upload of so many MB, made as it is sent."""
    yield b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    yield b'--B\r\nContent-Disposition: form-data; name="file"; filename="big.jsonl"\r\n\r\n'
    lines = (LINE.encode() + b"\n") * (CHUNK // (len(LINE) + 1))
    for _ in range(megabytes * CHUNK // len(lines)):
        yield lines
    yield b"\r\n--B--\r\n"


def upload(server: Server, megabytes: int) -> dict[str, Any]:
    """Seconds, and by how much the server's memory grew at its highest."""
    server.call("GET", "/v1/files")
    before = memory(server.process.pid)
    forget_peak(server.process.pid)
    began = time.monotonic()
    connection = http.client.HTTPConnection(server.host, server.port, timeout=600)
    connection.request(
        "POST", "/v1/files", form(megabytes), encode_chunked=True,
        headers={"Authorization": f"Bearer {server.key}", "Content-Type": "multipart/form-data; boundary=B",
                 "Transfer-Encoding": "chunked"},
    )  # fmt: skip
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise SystemExit(f"the upload was answered with {answer.status}: {text[:300]!r}")
    seconds = time.monotonic() - began
    file = json.loads(text)
    found = {"upload_mb": round(file["bytes"] / CHUNK), "upload_seconds": seconds}
    found["upload_growth_mb"] = peak_megabytes(server.process.pid) - before
    server.call("DELETE", f"/v1/files/{file['id']}")
    return found


def starts(server: Server, count: int) -> list[float]:
    """Seconds from the request that creates a job until it is seen running, for jobs after one another."""
    took = []
    for number in range(count):
        began = time.monotonic()
        job = create_job(server, number, 50)
        while server.call("GET", f"/v1/fine_tuning/jobs/{job}")["status"] in ("validating_files", "queued"):
            time.sleep(0.02)
        took.append(time.monotonic() - began)
        server.call("POST", f"/v1/fine_tuning/jobs/{job}/cancel", b"")
        while server.call("GET", f"/v1/fine_tuning/jobs/{job}")["status"] != "cancelled":
            time.sleep(0.05)
    return took


def polls(server: Server, pollers: int, seconds: float) -> dict[str, Any]:
    """Quantiles of the answers in milliseconds, while a job trains."""
    job = create_job(server, 1000, 50)
    while server.call("GET", f"/v1/fine_tuning/jobs/{job}")["status"] in ("validating_files", "queued"):
        time.sleep(0.2)
    time.sleep(10.0)  # imports and gates are over: it trains
    took = sorted(asyncio.run(measure(server.host, server.port, server.key, job, pollers, seconds)))
    status = server.call("GET", f"/v1/fine_tuning/jobs/{job}")["status"]
    if status != "running":
        raise SystemExit(f"the job was {status} at the end: give it more epochs")
    server.call("POST", f"/v1/fine_tuning/jobs/{job}/cancel", b"")
    at = {f"poll_p{q}_ms": 1000 * took[min(len(took) - 1, len(took) * q // 100)] for q in (50, 99)}
    return {"pollers": pollers, "seconds": seconds, "answers": len(took), "poll_max_ms": 1000 * took[-1], **at}


def page(result: dict[str, Any]) -> str:
    lines = [f"{result['machine']}; {result['date']}.", "", "| what | measured | demanded |", "|---|---|---|"]
    for key, what, value, demanded in ROWS:
        if key in result:
            lines.append(f"| {what.format(**result)} | {value.format(**result)} | {demanded} |")
    return HEADER + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pollers", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--creations", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    result: dict[str, Any] = {"date": date.today().isoformat(), "machine": machine()}
    with tempfile.TemporaryDirectory(prefix="luthier-service-") as folder:
        server = Server(Path(folder))
        try:
            result |= upload(server, args.megabytes)
            took = starts(server, args.creations)
            result |= {"creations": len(took), "running_seconds": max(took), "running_fastest": min(took)}
            result |= polls(server, args.pollers, args.seconds)
        finally:
            server.stop()
    print(page(result))
    if args.write:
        with RESULTS.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(result) + "\n")
        RESULTS.with_suffix(".md").write_text(page(result), encoding="utf-8")


if __name__ == "__main__":
    main()
