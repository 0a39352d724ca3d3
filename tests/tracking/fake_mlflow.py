"""As much of an MLflow server as a mirror asks; `refuse` and `silent` make it behave badly."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


class FakeMlflow(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.models: dict[str, list[dict[str, Any]]] = {}
        self.asked: list[str] = []
        self.authorization: set[str | None] = set()
        self.refuse: list[tuple[int, str]] = []
        """Answers that come first: (status, body)."""

    def answer(self, name: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if name == "experiments/create":
            if body["name"] in self.experiments:
                return 400, {"error_code": "RESOURCE_ALREADY_EXISTS", "message": "it exists"}
            self.experiments[body["name"]] = str(len(self.experiments) + 1)
            return 200, {"experiment_id": self.experiments[body["name"]]}
        if name == "experiments/get-by-name":
            return 200, {"experiment": {"experiment_id": self.experiments[body["experiment_name"]]}}
        if name == "runs/create":
            run_id = f"run{len(self.runs)}"
            info = {"run_id": run_id, "experiment_id": body["experiment_id"],
                    "artifact_uri": f"mlflow-artifacts:/{body['experiment_id']}/{run_id}/artifacts"}  # fmt: skip
            self.runs[run_id] = {"info": info, "data": {"params": []}, "metrics": [], "status": "RUNNING", **body}
            return 200, {"run": self.runs[run_id]}
        if name == "runs/get":
            if body["run_id"] not in self.runs:
                return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such run"}
            return 200, {"run": self.runs[body["run_id"]]}
        if name == "runs/log-batch":
            run = self.runs[body["run_id"]]
            assert len(body.get("metrics", [])) <= 1000
            assert len(body.get("params", [])) <= 100
            known = {item["key"]: item["value"] for item in run["data"]["params"]}
            for item in body.get("params", []):
                if known.get(item["key"], item["value"]) != item["value"]:
                    return 400, {"error_code": "INVALID_PARAMETER_VALUE", "message": "params do not change"}
            run["data"]["params"] += body.get("params", [])
            run["metrics"] += body.get("metrics", [])
            return 200, {}
        if name == "runs/update":
            self.runs[body["run_id"]].update(body)
            return 200, {}
        if name == "registered-models/create":
            if body["name"] in self.models:
                return 400, {"error_code": "RESOURCE_ALREADY_EXISTS", "message": "it exists"}
            self.models[body["name"]] = []
            return 200, {}
        assert name == "model-versions/create"
        self.models[body["name"]].append(body)
        return 200, {}


class _Handler(BaseHTTPRequestHandler):
    server: FakeMlflow
    protocol_version = "HTTP/1.1"

    def _do(self) -> None:
        parts = urlsplit(self.path)
        self.server.asked.append(parts.path)
        self.server.authorization.add(self.headers.get("Authorization"))
        content = self._content()
        if self.server.refuse:
            status, text = self.server.refuse.pop(0)
            return self._send(status, text.encode())
        if self.command == "PUT":
            self.server.files[unquote(parts.path).removeprefix("/api/2.0/mlflow-artifacts/artifacts/")] = content
            return self._send(200, b"{}")
        body = json.loads(content) if content else {key: item[0] for key, item in parse_qs(parts.query).items()}
        status, answer = self.server.answer(parts.path.removeprefix("/api/2.0/mlflow/"), body)
        return self._send(status, json.dumps(answer).encode())

    do_GET = do_POST = do_PUT = _do

    def _content(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def serving() -> Iterator[FakeMlflow]:
    server = FakeMlflow()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
