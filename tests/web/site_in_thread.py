"""A server in a thread, with a real store that tests fill directly; its engine and its supervisor do nothing."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import uvicorn

sys.path.append(str(Path(__file__).resolve().parents[1] / "server"))
from wire import QuietSupervisor, Wire

from luthier.core import clock
from luthier.jobs.ids import new_id
from luthier.jobs.records import Job, NewEvent
from luthier.server.app import create_app
from luthier.web import ROUTERS

PATIENCE = 30.0


class Supervisor(QuietSupervisor):
    """What the routes ask of it."""

    def notify(self) -> None:
        """Nobody looks."""


class Site(Wire):
    """`start` makes it answer under `base_url`; `secret` is an admin key."""

    def __init__(self, home: Path, **settings: Any) -> None:
        home.mkdir(parents=True, exist_ok=True)
        super().__init__(home, **settings)
        self.state.supervisor = Supervisor()  # type: ignore[assignment]
        self.app = create_app(self.settings, state=self.state, others=ROUTERS)
        self.secret = self.key("admin")
        self.base_url = ""

    def start(self) -> Site:
        """Answer in a thread."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(self.app, log_config=None, access_log=False, lifespan="on"))
        self._server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.run, args=([listener],), daemon=True)
        self._thread.start()
        until = time.monotonic() + PATIENCE
        while not self._server.started:
            assert time.monotonic() < until
            time.sleep(0.02)
        return self

    def stop(self) -> None:
        """End, and close the store."""
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        self.store.close()

    def http_post(self, path: str, body: Any) -> httpx.Response:
        """Ask the running server."""
        return httpx.post(
            self.base_url + path, json=body, headers={"authorization": f"Bearer {self.secret}"}, timeout=PATIENCE
        )

    def client(self, *_: Any) -> openai.OpenAI:  # type: ignore[override]
        """OpenAI's client on the running server."""
        return openai.OpenAI(api_key=self.secret, base_url=f"{self.base_url}/v1", max_retries=0)

    def job(self, *, events: Sequence[NewEvent] = (), **fields: Any) -> Job:
        """Put a job into the store as it is given."""
        values: dict[str, Any] = {
            "id": new_id("ftjob-"),
            "project_id": self.project,
            "kind": "recipe",
            "status": "succeeded",
            "model": "minilm",
            "base_model": "minilm",
            "task": "classify",
            "training_file": "file-x",
            "created_at": int(clock.now().timestamp()),
            "seed": 0,
            "recipe": {"task": "classify", "data": {"train": "file-x"}},
        }
        return self.store.jobs.create(Job(**(values | fields)), [NewEvent("created", "Created"), *events])[0]

    def reported(self, report: dict[str, Any], **fields: Any) -> Job:
        """A finished job with a report."""
        job_id = new_id("ftjob-")
        folder = self.settings.home / "made" / job_id
        folder.mkdir(parents=True)
        (folder / "report.json").write_text(json.dumps(report))
        (folder / "report.html").write_text("<!doctype html>")
        self.artefacts.put_folder(f"reports/{job_id}", folder)
        return self.job(id=job_id, result={"report": f"reports/{job_id}", "metrics": {"accuracy": 0.9}}, **fields)
