"""F8: clients that send slowly, read slowly or not at all, and bytes that are no HTTP, on real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Any

import pytest
import uvicorn
from fastapi.responses import StreamingResponse
from wire import Wire

from luthier.jobs.records import Job, NewEvent, StoredFile
from luthier.server.openai.files import UPLOADS_AT_ONCE
from luthier.server.protocol import MOST_HEADER_BYTES, protocol_for, watch

TOLD = 2.0
"""Deadlines of this server are a fraction of a second; what takes longer than this was not dropped."""


class Listening:
    """A `Wire` on a socket, with short deadlines."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.key = wire.key()
        wire.app.get("/endless")(endless)
        wire.app.state.templates[endless] = "/endless"
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = self.socket.getsockname()
        config = uvicorn.Config(
            wire.app, loop="asyncio", http=protocol_for(wire.settings), ws="none", log_config=None, access_log=False,
            server_header=False, timeout_keep_alive=wire.settings.keep_alive_seconds, timeout_graceful_shutdown=1,
        )  # fmt: skip
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        watching = asyncio.create_task(watch(self.server.server_state, every=0.05))
        await self.server.serve([self.socket])
        watching.cancel()

    def connect(self) -> socket.socket:
        connection = socket.create_connection(self.address)
        connection.settimeout(20)
        return connection

    def head(self, method: str = "GET", path: str = "/v1/files", *lines: str) -> bytes:
        return "\r\n".join(
            [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {self.key}", *lines, "", ""]
        ).encode()

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)


async def endless() -> StreamingResponse:
    """More bytes than anybody wants."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(10_000):
            yield b"x" * 65536

    return StreamingResponse(pieces(), media_type="application/octet-stream")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    limits: dict[str, Any] = {
        "header_seconds": 0.4, "body_grace_seconds": 0.4, "body_bytes_per_second": 2000.0, "stall_seconds": 0.4,
        "keep_alive_seconds": 1, "max_connections": 150,
    }  # fmt: skip
    wire = Wire(tmp_path_factory.mktemp("slow"), **limits)
    listening = Listening(wire)
    listening.thread.start()
    while not listening.server.started:
        time.sleep(0.01)
    yield listening
    listening.server.should_exit = True
    listening.thread.join(20)
    wire.store.close()


def read_all(connection: socket.socket) -> bytes:
    """Everything until the server closes the connection."""
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except ConnectionResetError:
        pass
    return found


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """One answer with a Content-Length."""
    found = b""
    while b"\r\n\r\n" not in found:
        piece = connection.recv(65536)
        assert piece, found
        found += piece
    head, _, body = found.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65536)
    return int(first.split()[1]), headers, body


def closed_within(connection: socket.socket, seconds: float) -> float:
    began = time.monotonic()
    read_all(connection)
    took = time.monotonic() - began
    assert took < seconds, took
    return took


def keeps_sending(connection: socket.socket, piece: bytes, pause: float, most: int) -> bool:
    """Send pieces again and again; whether the server still took them after `most` of them."""
    try:
        for _ in range(most):
            connection.sendall(piece)
            time.sleep(pause)
    except (ConnectionResetError, BrokenPipeError):
        return False
    return True


def healthy(server: Listening) -> bool:
    with closing(server.connect()) as connection:
        connection.sendall(server.head())
        return read_answer(connection)[0] == 200


@pytest.mark.parametrize(
    "begin", [b"", b"G", b"GET /v1/files HTTP/1.1\r\nHost: local", b"\r\n", b"POST / HTTP/1.1\r\nX: "]
)
def test_headers_that_do_not_come_end_the_connection(server: Listening, begin: bytes) -> None:
    with closing(server.connect()) as connection:
        connection.sendall(begin)
        closed_within(connection, TOLD)


@pytest.mark.parametrize("piece", [b"a", b"\r\n"])
def test_headers_that_trickle_end_the_connection(server: Listening, piece: bytes) -> None:
    with closing(server.connect()) as connection:
        connection.sendall(b"" if piece == b"\r\n" else b"GET /v1/files HTTP/1.1\r\nX: ")
        assert not keeps_sending(connection, piece, 0.02, int(TOLD / 0.02))


def test_headers_that_trickle_after_an_answer_end_the_connection(server: Listening) -> None:
    with closing(server.connect()) as connection:
        connection.sendall(server.head())
        assert read_answer(connection)[0] == 200
        assert not keeps_sending(connection, b"\r\n", 0.02, int(TOLD / 0.02))


def test_a_connection_that_is_kept_is_kept_for_a_while_only(server: Listening) -> None:
    with closing(server.connect()) as connection:
        for _ in range(3):
            connection.sendall(server.head())
            assert read_answer(connection)[0] == 200
            time.sleep(0.2)
        closed_within(connection, TOLD + 1)


@pytest.mark.parametrize("path", ["/v1/files", "/luthier/v1/keys"])
def test_a_body_that_does_not_come_is_a_408(server: Listening, path: str) -> None:
    kind = "multipart/form-data; boundary=x" if path == "/v1/files" else "application/json"
    with closing(server.connect()) as connection:
        connection.sendall(server.head("POST", path, f"Content-Type: {kind}", "Content-Length: 1000"))
        connection.sendall(b"{" if "json" in kind else b"--x\r\n")
        status, headers, body = read_answer(connection)
        assert (status, json.loads(body)["error"]["code"]) == (408, "request_timeout")
        assert headers["connection"] == "close"
        closed_within(connection, 4.0)


def test_a_body_that_trickles_is_a_408(server: Listening) -> None:
    with closing(server.connect()) as connection:
        connection.sendall(
            server.head("POST", "/luthier/v1/keys", "Content-Type: application/json", "Content-Length: 900")
        )
        connection.settimeout(0.02)
        began = time.monotonic()
        answer = b""
        while not answer and time.monotonic() - began < 4:
            connection.sendall(b" ")
            try:
                answer = connection.recv(65536)
            except TimeoutError:
                continue
        assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_body_that_is_slow_but_not_too_slow_arrives(server: Listening) -> None:
    body = b'{"name": "slow"}'.ljust(4000)
    with closing(server.connect()) as connection:
        connection.sendall(
            server.head("POST", "/luthier/v1/keys", "Content-Type: application/json", f"Content-Length: {len(body)}")
        )
        for start in range(0, len(body), 500):
            connection.sendall(body[start : start + 500])
            time.sleep(0.1)
        assert read_answer(connection)[0] == 200


def test_an_answer_that_nobody_reads_ends_the_connection(server: Listening) -> None:
    before = server.connections
    readers = []
    for _ in range(20):
        connection = server.connect()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(server.head("GET", "/endless"))
        readers.append(connection)
    until = time.monotonic() + 10
    while server.connections > before and time.monotonic() < until:
        time.sleep(0.05)
    assert server.connections <= before
    assert healthy(server)
    for connection in readers:
        connection.close()


def test_a_stream_of_few_events_that_nobody_reads_ends(server: Listening) -> None:
    """The kernel holds all of it, so the server never waits to write; a client that takes nothing ends all the same."""
    wire, before = server.wire, server.connections
    wire.store.files.add(StoredFile("file-1", wire.project, "a", "fine-tune", 1, "0", "files/file-1", 1))
    job = Job(
        id="ftjob-1", project_id=wire.project, kind="openai", status="validating_files", model="luthier-nano",
        base_model="luthier-nano", task="chat", training_file="file-1", created_at=1, seed=1, recipe={},
    )  # fmt: skip
    wire.store.jobs.create(job, [NewEvent(f"word:{number}", "x" * 500) for number in range(20)])
    readers = []
    for _ in range(5):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.settimeout(20)
        connection.connect(server.address)
        connection.sendall(server.head("GET", "/v1/fine_tuning/jobs/ftjob-1/events?stream=true"))
        readers.append(connection)
    until = time.monotonic() + 10
    while server.connections < before + 5 and time.monotonic() < until:
        time.sleep(0.01)
    while server.connections > before and time.monotonic() < until:
        time.sleep(0.05)
    assert server.connections <= before
    for connection in readers:
        connection.close()


def test_an_answer_that_is_read_slowly_goes_on(server: Listening) -> None:
    with closing(server.connect()) as connection:
        connection.sendall(server.head("GET", "/endless"))
        began, got = time.monotonic(), 0
        while time.monotonic() - began < 1.5:
            got += len(connection.recv(65536))
            time.sleep(0.02)
        assert got > 1_000_000


def test_a_crowd_of_half_open_connections_leaves_others_alone(server: Listening) -> None:
    crowd = [server.connect() for _ in range(100)]
    for connection in crowd:
        connection.sendall(b"GET / HTTP/1.1\r\nX-A: b")
    began = time.monotonic()
    for _ in range(5):
        assert healthy(server)
    assert time.monotonic() - began < 5
    for connection in crowd:
        closed_within(connection, TOLD + 2)
        connection.close()


def test_one_connection_too_many_is_told_so(server: Listening) -> None:
    crowd = [server.connect() for _ in range(170)]
    said = []
    for connection in crowd:
        connection.settimeout(5)
        said.append(read_all(connection))
        connection.close()
    refused = [text for text in said if b"too_many_connections" in text]
    assert len(refused) >= 10
    assert all(text.startswith(b"HTTP/1.1 503 ") and b"retry-after: " in text for text in refused)
    time.sleep(0.3)
    assert healthy(server)


def test_what_was_refused_hears_why_before_the_end(server: Listening) -> None:
    """A client that sends a large body reads the refusal, and no reset."""
    size = 60 * 2**20
    with closing(server.connect()) as connection:
        connection.sendall(
            server.head("POST", "/luthier/v1/keys", "Content-Type: application/json", f"Content-Length: {size}")
        )
        piece = b" " * 65536
        for _ in range(40):
            connection.sendall(piece)
        status, headers, _ = read_answer(connection)
        assert (status, headers["connection"]) == (413, "close")
        closed_within(connection, 6.0)


# ---- what is no HTTP, or two requests in one


def exchange(server: Listening, data: bytes) -> bytes:
    with closing(server.connect()) as connection:
        connection.sendall(data)
        return read_all(connection)


@pytest.mark.parametrize(
    "lines",
    [
        ["GET /v1/files HTTP/1.1", "Host: localhost", "Host: evil"],
        ["GET /v1/files HTTP/1.1", "Host: localhost", "Authorization: Bearer a", "Authorization: Bearer b"],
        ["POST /v1/files HTTP/1.1", "Host: localhost", "Content-Length: 3", "Content-Length: 4"],
        ["POST /v1/files HTTP/1.1", "Host: localhost", "Content-Length: 3", "Transfer-Encoding: chunked"],
        ["POST /v1/files HTTP/1.1", "Host: localhost", "Content-Length: -1"],
        ["POST /v1/files HTTP/1.1", "Host: localhost", "Content-Length: 99999999999999999999999"],
        ["GET /v1/files HTTP/9.9", "Host: localhost"],
        ["GET  HTTP/1.1", "Host: localhost"],
        ["GET /\xe4 HTTP/1.1", "Host: localhost"],
        ["GET /v1/files HTTP/1.1", "Ho st: localhost"],
        ["GET /v1/files HTTP/1.1", "Host : localhost"],
        ["GET ?x HTTP/1.1", "Host: localhost"],
        ["\x16\x03\x01\x02", ""],
    ],
)
def test_what_is_no_sound_request_is_a_400_in_one_shape(server: Listening, lines: list[str]) -> None:
    answer = exchange(server, "\r\n".join([*lines, "", ""]).encode("latin-1"))
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_request_without_a_name_is_refused(server: Listening, version: bytes) -> None:
    answer = exchange(server, b"GET /healthz HTTP/" + version + b"\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 "), answer


@pytest.mark.parametrize("target", [b"http://evil.example/v1/files", b"//evil.example/v1/files", b"/v1/../healthz"])
def test_the_target_of_a_request_opens_nothing(server: Listening, target: bytes) -> None:
    answer = exchange(server, b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 401 "), answer


def test_headers_without_end_are_refused(server: Listening) -> None:
    with closing(server.connect()) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        assert not keeps_sending(connection, b"X-Many: " + b"y" * 1000 + b"\r\n", 0.0, MOST_HEADER_BYTES // 50)


def test_headers_without_end_behind_a_request_are_refused(server: Listening) -> None:
    with closing(server.connect()) as connection:
        connection.sendall(server.head("GET", "/endless") + b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        assert not keeps_sending(connection, b"X-Many: " + b"y" * 1000 + b"\r\n", 0.0, MOST_HEADER_BYTES // 50)


def test_two_requests_at_once_are_answered_in_turn(server: Listening) -> None:
    with closing(server.connect()) as connection:
        connection.sendall(server.head() + server.head("GET", "/v1/models", "Connection: close"))
        answer = read_all(connection)
    assert answer.count(b"HTTP/1.1 200 ") == 2


def test_an_upgrade_is_not_made(server: Listening) -> None:
    lines = ("Connection: Upgrade, close", "Upgrade: websocket", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13")
    assert exchange(server, server.head("GET", "/v1/files", *lines)).startswith(b"HTTP/1.1 200 ")


def upload_head(server: Listening, size: int) -> bytes:
    kind = "Content-Type: multipart/form-data; boundary=x"
    return server.head("POST", "/v1/files", kind, f"Content-Length: {size}")


def test_slow_uploads_do_not_keep_others_from_their_turn(server: Listening) -> None:
    """More of them than there are turns: the next upload waits until a turn's time is over, and no longer."""
    slow = [server.connect() for _ in range(UPLOADS_AT_ONCE + 4)]
    body = form({"purpose": "fine-tune"}, b'{"a": 1}\n')
    try:
        for connection in slow:
            connection.sendall(upload_head(server, len(body)) + body[:20])
        time.sleep(0.1)
        with closing(server.connect()) as connection:
            connection.sendall(upload_head(server, len(body)) + body)
            assert read_answer(connection)[0] == 200
    finally:
        for connection in slow:
            connection.close()


def test_a_body_waits_in_the_kernel_until_its_route_asks(server: Listening) -> None:
    """While all turns are taken, the server keeps a first piece of a body and reads no more of it."""
    slow = [server.connect() for _ in range(UPLOADS_AT_ONCE)]
    body = form({"purpose": "fine-tune"}, b"x" * 3_000_000)
    try:
        for connection in slow:
            connection.sendall(upload_head(server, 1000) + b"--x\r\n")
        time.sleep(0.1)
        before = set(server.server.server_state.connections)
        with closing(server.connect()) as connection:
            connection.setblocking(False)
            connection.send(upload_head(server, len(body)) + body)
            time.sleep(0.2)
            (waiting,) = set(server.server.server_state.connections) - before
            assert 0 < len(waiting.cycle.body) < 64 * 1024  # type: ignore[union-attr]
    finally:
        for connection in slow:
            connection.close()


def form(fields: dict[str, str], content: bytes) -> bytes:
    head = '--x\r\nContent-Disposition: form-data; name='
    parts = [f'{head}"{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()]
    parts.append(head + '"file"; filename="a.jsonl"\r\n\r\n')
    return "".join(parts).encode() + content + b"\r\n--x--\r\n"
