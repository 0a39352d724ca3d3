"""A server as small as one can be, with the wire of the real one: the command line is tested without that."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

KEY = "lu-the-right-key"
RESULT_CSV = b"step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n1,2.5,0.5,,\n"


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class FakeServer:
    """`jobs` and `events` (newest last) are what it holds, `asked` what it was asked; `before` may change anything
    between two requests, or answer itself with (status, body, headers)."""

    port: int = 0
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    before: Callable[[Asked], tuple[int, Any, dict[str, str]] | None] = lambda asked: None
    page: int = 3

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add_job(self, job: str, status: str = "running", **fields: Any) -> dict[str, Any]:
        self.jobs[job] = {
            "id": job, "object": "fine_tuning.job", "status": status, "model": "luthier-nano",
            "created_at": 1_700_000_000, "finished_at": None, "fine_tuned_model": None, "result_files": [],
            "training_file": "file-1", "validation_file": None,
            "hyperparameters": {"n_epochs": 3}, "seed": 1, "error": None, "metadata": {},
            "organization_id": "local", "trained_tokens": None, "estimated_finish": None, **fields,
        }  # fmt: skip
        self.events.setdefault(job, [])
        return self.jobs[job]

    def add_event(self, job: str, message: str, level: str = "info", **data: Any) -> None:
        number = len(self.events[job]) + 1
        self.events[job].append({
            "id": f"ftevent-{job}-{number}", "object": "fine_tuning.job.event", "created_at": 1_700_000_000 + number,
            "level": level, "type": "metrics" if data else "message", "message": message, "data": data or None,
        })  # fmt: skip

    def answer(self, asked: Asked) -> tuple[int, Any, dict[str, str]]:
        special = self.before(asked)
        if special is not None:
            return special
        if asked.headers.get("authorization") != f"Bearer {KEY}":
            return error(401, "Incorrect API key provided.", "invalid_api_key")
        parts = urlsplit(asked.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        path = unquote(parts.path)
        if asked.method == "POST" and path == "/v1/files":
            name = f"file-{len(self.files) + 1}"
            self.files[name] = asked.body
            return 200, {"id": name, "object": "file"}, {}
        if asked.method == "POST" and path == "/luthier/v1/jobs":
            return 200, self.add_job("ftjob-new", "validating_files"), {}
        if path == "/v1/fine_tuning/jobs":
            return 200, self._paged(list(self.jobs.values())[::-1], query), {}
        found = re.fullmatch(r"(?:/v1/fine_tuning|/luthier/v1)/jobs/([^/]+)(?:/(\w+))?", path)
        if path.endswith("/report.json"):
            return error(404, "The job has no report.", "no_report")
        if path.endswith("/report.html"):
            return 200, b"<html>", {}
        if found and found[1] in self.jobs:
            if found[2] == "events":
                return 200, self._paged(self.events[found[1]][::-1], query), {}
            if found[2]:
                if self.jobs[found[1]]["status"] in ("succeeded", "failed", "cancelled"):
                    return error(400, f"The job is {self.jobs[found[1]]['status']}.", "job_status")
                self.jobs[found[1]]["status"] = {"cancel": "cancelled", "pause": "paused", "resume": "queued"}[found[2]]
            return 200, self.jobs[found[1]], {}
        if path == "/v1/files/file-result/content":
            return 200, RESULT_CSV, {}
        return error(404, f"There is no {path.rsplit('/', 1)[-1]}.", "not_found")

    def _paged(self, items: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
        start = 1 + [item["id"] for item in items].index(query["after"]) if "after" in query else 0
        end = start + min(self.page, int(query.get("limit", 20)))
        return {"object": "list", "data": items[start:end], "has_more": end < len(items)}


def error(status: int, message: str, code: str, **headers: str) -> tuple[int, Any, dict[str, str]]:
    """OpenAI's error shape."""
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
    return status, body, {name.replace("_", "-"): value for name, value in headers.items()}


@contextmanager
def serving(fake: FakeServer) -> Iterator[FakeServer]:
    """Let `fake` answer on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            asked = Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            fake.asked.append(asked)
            status, value, headers = fake.answer(asked)
            if status == 0:  # a server that dies
                self.close_connection = True
                return
            content = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            for name, text in headers.items():
                self.send_header(name, text)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _any

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", fake.port), Handler)
    fake.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
