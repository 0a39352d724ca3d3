"""A server in this process with a real store and real artefacts, and the unmodified `openai` client on it."""

from __future__ import annotations

import contextlib
import functools
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
from openai._models import construct_type
from pydantic import TypeAdapter
from starlette.testclient import TestClient

from luthier.core.answering import EngineReply, EngineRequest
from luthier.jobs.artefacts import Artefacts
from luthier.jobs.queue import Queue
from luthier.jobs.records import Role
from luthier.jobs.store import Store
from luthier.server.app import create_app
from luthier.server.settings import ServerSettings
from luthier.server.state import AppState

BASE = "http://localhost"


@functools.cache
def empty_database() -> bytes:
    """An SQLite store that was migrated once, to be copied for each test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "luthier.db"
        Store.open(path).close()
        return path.read_bytes()


@dataclass
class QuietEngine:
    """Takes every request and answers `end`."""

    asked: list[EngineRequest] = field(default_factory=list)

    async def ask(self, request: EngineRequest) -> AsyncIterator[EngineReply]:
        self.asked.append(request)
        yield EngineReply(request.id, "end")

    def running(self) -> bool:
        return True

    def status(self) -> dict[str, Any]:
        return {"state": "ready", "restarts": 0, "requests": 0}


class QuietSupervisor:
    """Says that it works, and runs nothing."""

    def alive(self) -> bool:
        return True


class Wire:
    """One server; `client(role, project)` is an OpenAI client with a key of its own."""

    def __init__(self, home: Path, **settings: Any) -> None:
        self.settings = ServerSettings(home=home, **settings)
        if self.settings.database is None:
            (home / "luthier.db").write_bytes(empty_database())
        self.store = Store.open(self.settings.database_url)
        self.artefacts = Artefacts.open(str(home / "artefacts"), home / "cache")
        self.engine = QuietEngine()
        self.queue = Queue(self.store, "test")
        self.state = AppState(self.settings, self.store, self.queue, self.artefacts, self.engine, QuietSupervisor())  # type: ignore[arg-type]
        self.app = create_app(self.settings, state=self.state)
        self.project = self.store.projects.default().id
        self.http: TestClient

    @contextlib.contextmanager
    def running(self) -> Iterator[Wire]:
        with TestClient(self.app, base_url=BASE) as self.http:
            yield self
        self.store.close()

    def key(self, role: Role = "admin", project: str | None = None) -> str:
        return self.store.keys.create(project or self.project, "test", role)[1]

    def client(self, role: Role = "admin", project: str | None = None) -> openai.OpenAI:
        return openai.OpenAI(
            api_key=self.key(role, project), base_url=f"{BASE}/v1", http_client=self.http, max_retries=0
        )

    def stranger(self) -> openai.OpenAI:
        """A client of another project."""
        return self.client(project=self.store.projects.create("other").id)


def strictly(kind: Any, value: Any) -> None:
    """`value`, a model that the client read, is one of `kind`: every field has the declared type."""
    raw = json.loads(value.model_dump_json(warnings=False)) if hasattr(value, "model_dump_json") else value
    TypeAdapter(kind).validate_python(raw, strict=True)
    assert construct_type(type_=kind, value=raw) is not None


def refused(call: Any, kind: type[openai.APIStatusError]) -> dict[str, Any]:
    """The error that a call ends with: its body."""
    try:
        call()
    except kind as error:
        body = error.body
        assert isinstance(body, dict)
        assert set(body) == {"message", "type", "param", "code"}
        return body
    raise AssertionError(f"{kind.__name__} was expected")


def chat_rows(number: int = 12) -> bytes:
    """A small training file of conversations."""
    rows = (
        {"messages": [{"role": "user", "content": f"What is {i} and {i}?"},
                      {"role": "assistant", "content": f"It is {2 * i}."}]}
        for i in range(number)
    )  # fmt: skip
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def class_rows(number: int = 12) -> bytes:
    """A small CSV file of labelled texts."""
    return ("text,label\n" + "".join(f"text number {i},{'ab'[i % 2]}\n" for i in range(number))).encode()
