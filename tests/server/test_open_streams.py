"""Streams that are open end with the key that asked for them, and at last by themselves."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from scripted import ScriptedEngine, says, scripted_wire
from wire import Wire, chat_rows

from luthier.core import clock
from luthier.server.open_streams import OpenStreams

TOLD = 10.0
"""Seconds; a stream that goes on is one that never ends."""


@pytest.fixture
def streaming(tmp_path: Path) -> Iterator[tuple[Wire, ScriptedEngine]]:
    with scripted_wire(tmp_path) as (wire, engine):
        OpenStreams.of(wire.state).look_seconds = 0.02
        yield wire, engine


def waiting_job(wire: Wire) -> str:
    client = wire.client()
    file = client.files.create(file=("train.jsonl", chat_rows()), purpose="fine-tune")
    return client.fine_tuning.jobs.create(model="luthier-nano", training_file=file.id).id


class Reading:
    """One GET or POST that is read in a thread of its own."""

    def __init__(self, wire: Wire, secret: str, method: str, path: str, **request: Any) -> None:
        self.body = b""
        self.status = 0
        headers = {"Authorization": f"Bearer {secret}"}

        def read() -> None:
            with wire.http.stream(method, path, headers=headers, **request) as answer:
                self.status = answer.status_code
                self.body = answer.read()

        self.thread = threading.Thread(target=read, daemon=True)
        self.thread.start()

    def ended(self) -> bool:
        self.thread.join(TOLD)
        return not self.thread.is_alive()

    @property
    def last(self) -> dict[str, Any]:
        found = json.loads(self.body.rstrip().rpartition(b"\ndata: ")[2])
        assert isinstance(found, dict)
        return found


def follow(wire: Wire, secret: str) -> Reading:
    return Reading(wire, secret, "GET", f"/v1/fine_tuning/jobs/{waiting_job(wire)}/events?stream=true")


def chat(wire: Wire, secret: str) -> Reading:
    body = {"model": "luthier-nano", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    return Reading(wire, secret, "POST", "/v1/chat/completions", json=body)


def open_streams(wire: Wire, count: int) -> None:
    """Wait until so many are open."""
    streams, until = OpenStreams.of(wire.state), time.monotonic() + TOLD
    while len(streams._open) != count:
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("begin", [follow, chat])
def test_a_stream_ends_when_its_key_is_revoked(streaming: tuple[Wire, ScriptedEngine], begin: Any) -> None:
    wire, engine = streaming
    engine.script, engine.silent = lambda request: list(says("One")(request))[:-2], True  # it would go on
    mine, other = (wire.store.keys.create(wire.project, name, "write") for name in ("mine", "other"))
    ending, going_on = begin(wire, mine[1]), begin(wire, other[1])
    open_streams(wire, 2)
    wire.store.keys.revoke(wire.project, mine[0].id)
    assert ending.ended()
    assert ending.status == 200
    assert ending.last["error"]["code"] == "invalid_api_key"
    assert b"[DONE]" not in ending.body
    open_streams(wire, 1)
    assert going_on.thread.is_alive()
    if begin is chat:
        assert len(engine.closed) == 1, "the engine is told that nobody reads on"
    wire.store.keys.revoke(wire.project, other[0].id)
    assert going_on.ended()


def test_a_stream_ends_when_its_key_expires(
    streaming: tuple[Wire, ScriptedEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    wire, _ = streaming
    key, secret = wire.store.keys.create(wire.project, "brief", "read", int(time.time()) + 1000)
    reading = follow(wire, secret)
    open_streams(wire, 1)
    assert wire.store.keys.over([key.id]) == set()
    moved = time.time() + 1001

    class Later:
        def timestamp(self) -> float:
            return moved

    monkeypatch.setattr(clock, "now", Later)
    assert reading.ended()
    assert reading.last["error"]["code"] == "invalid_api_key"


def test_a_stream_lasts_so_long_and_no_longer(tmp_path: Path) -> None:
    with scripted_wire(tmp_path, stream_seconds=0.3) as (wire, _):
        OpenStreams.of(wire.state).look_seconds = 0.02
        began = time.monotonic()
        reading = follow(wire, wire.key())
        assert reading.ended()
        assert time.monotonic() - began > 0.3
        assert reading.last["error"]["code"] == "stream_over"
        assert b'"Created fine-tuning job' in reading.body


def test_the_client_of_openai_raises_what_a_stream_ends_with(streaming: tuple[Wire, ScriptedEngine]) -> None:
    wire, engine = streaming
    engine.script, engine.silent = lambda request: list(says("One")(request))[:-2], True
    key, secret = wire.store.keys.create(wire.project, "mine", "write")
    client = openai.OpenAI(api_key=secret, base_url="http://localhost/v1", http_client=wire.http, max_retries=0)
    threading.Timer(0.3, wire.store.keys.revoke, (wire.project, key.id)).start()
    asked: Any = {"model": "luthier-nano", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    with pytest.raises(openai.APIError, match="revoked"):
        list(client.chat.completions.create(**asked))
