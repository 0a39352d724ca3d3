"""What `benchmarks.service` measures with: a server of its own, jobs for it, and clients that poll over raw sockets.

A poller keeps one connection and asks once a second; an answer later than its second delays its next question only.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any


class Server:
    """`luthier serve` on a free port with a home of its own, with further `options`."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.said = folder / "said.txt"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LUTHIER_")}
        with self.said.open("wb") as said, (folder / "log.txt").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "luthier", "serve", "--port", "0", "--home", str(folder / "home"), *options],
                stdout=said, stderr=log, env=environment,
            )  # fmt: skip
        while not (found := re.search(r"listens on http://([\d.]+):(\d+) ", self.said.read_text())):
            if self.process.poll() is not None:
                raise SystemExit((folder / "log.txt").read_text())
            time.sleep(0.1)
        self.host, self.port = found[1], int(found[2])
        time.sleep(0.5)
        secret = re.search(r"OPENAI_API_KEY=(lu-\S+)", self.said.read_text())
        assert secret is not None
        self.key = secret[1]

    def call(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:
        """One request; its JSON."""
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": kind}
        request = urllib.request.Request(f"http://{self.host}:{self.port}{path}", body, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def stop(self) -> None:
        """End it in order."""
        self.process.terminate()
        self.process.wait(60)


def create_job(server: Server, seed: int, epochs: int) -> str:
    """A job that trains luthier-nano for a while."""
    rows = "".join(
        json.dumps({"messages": [{"role": "user", "content": f"Say {i} in words, slowly and in full."},
                                 {"role": "assistant", "content": f"That is number {i}, as you asked for it."}]}) + "\n"
        for i in range(400)
    )  # fmt: skip
    form = (
        '--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
        f'--B\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{rows}\r\n--B--\r\n'
    )
    file = server.call("POST", "/v1/files", form.encode(), "multipart/form-data; boundary=B")
    body = {
        "model": "luthier-nano",
        "training_file": file["id"],
        "seed": seed,
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": epochs}}},
    }
    job: str = server.call("POST", "/v1/fine_tuning/jobs", json.dumps(body).encode())["id"]
    return job


async def poll(host: str, port: int, request: bytes, until: float, number: int, pollers: int) -> list[float]:
    """One client: a question each second; the seconds that each answer took."""
    reader, writer = await asyncio.open_connection(host, port)
    loop, took = asyncio.get_running_loop(), []
    due = loop.time() + number / pollers
    while due < until:
        await asyncio.sleep(max(0.0, due - loop.time()))
        began = loop.time()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise SystemExit(head.decode())
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        assert length is not None
        await reader.readexactly(int(length[1]))
        took.append(loop.time() - began)
        due = max(due + 1.0, loop.time())
    writer.close()
    return took


async def measure(host: str, port: int, key: str, job: str, pollers: int, seconds: float) -> list[float]:
    """All clients; the seconds of every answer."""
    request = (
        f"GET /v1/fine_tuning/jobs/{job} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {key}\r\n\r\n"
    ).encode()
    until = asyncio.get_running_loop().time() + seconds
    found = await asyncio.gather(*(poll(host, port, request, until, i, pollers) for i in range(pollers)))
    return [one for took in found for one in took]


def memory(pid: int) -> float:
    """Resident MB of a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", text)
    assert found is not None
    return int(found[1]) / 1024
