"""A server in this process, asked over raw ASGI: each message of a request, and its size, is the test's choice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent / "server"))

from wire import Wire


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Inside:
    """`ask` sends one request to the app of a `Wire`."""

    def __init__(self, wire: Wire, runner: asyncio.Runner) -> None:
        self.wire = wire
        self.key = wire.key()
        self._runner = runner

    def ask(
        self, method: str, path: str, chunks: Sequence[bytes] = (), headers: dict[str, str] | None = None
    ) -> Answer:
        return self._runner.run(self._ask(method, path, chunks, headers or {}))

    def post_form(self, body: bytes, boundary: str, chunks: Sequence[bytes] | None = None) -> Answer:
        """Upload a multipart body to /v1/files."""
        headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
        return self.ask("POST", "/v1/files", [body] if chunks is None else chunks, headers)

    async def _ask(self, method: str, path: str, chunks: Sequence[bytes], headers: dict[str, str]) -> Answer:
        everything = {"host": "localhost", "authorization": f"Bearer {self.key}", **headers}
        plain, _, query = path.partition("?")
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method,
            "scheme": "http", "path": plain, "raw_path": plain.encode(), "query_string": query.encode(),
            "root_path": "", "headers": [(k.encode(), v.encode("latin-1")) for k, v in everything.items()],
            "client": ("127.0.0.1", 50_000), "server": ("127.0.0.1", 8321), "state": {},
        }  # fmt: skip
        waiting = [
            {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
            for number, chunk in enumerate(chunks, 1)
        ] or [{"type": "http.request", "body": b"", "more_body": False}]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if not waiting:
                await asyncio.Event().wait()  # the client stays to the end
            return waiting.pop(0)

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.wire.app(scope, receive, send)
        start = sent[0]
        found = {name.decode().lower(): value.decode("latin-1") for name, value in start["headers"]}
        return Answer(start["status"], found, b"".join(message.get("body", b"") for message in sent[1:]))


@contextlib.contextmanager
def inside(home: Path, **settings: Any) -> Iterator[Inside]:
    """Start the app of a server with its store in `home`."""
    wire = Wire(home, **settings)
    with asyncio.Runner() as runner:
        lifespan = wire.app.router.lifespan_context(wire.app)
        runner.run(lifespan.__aenter__())
        try:
            yield Inside(wire, runner)
        finally:
            runner.run(lifespan.__aexit__(None, None, None))
            wire.store.close()
