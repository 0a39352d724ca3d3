"""The server's client to a real engine process: started, asked, killed, started again, never outliving its server."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import secrets
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from luthier.core.answering import EngineOptions, EngineReply, EngineRequest, ModelRef
from luthier.core.errors import StorageError
from luthier.server import engine as engine_module
from luthier.server.engine import EngineClient
from luthier.server.errors import ApiError

NANO = ModelRef("luthier-nano", "luthier-nano")
WAIT_SECONDS = 60.0


def asked(op: Any, model: ModelRef | None = None, **body: Any) -> EngineRequest:
    return EngineRequest("ask-" + secrets.token_hex(8), op, model, "project", body)


def chat(text: str = "Hello!", tokens: int = 8) -> EngineRequest:
    return asked("generate", NANO, messages=[{"role": "user", "content": text}], sampling={"max_tokens": tokens})


async def every(client: EngineClient, request: EngineRequest) -> list[EngineReply]:
    async with asyncio.timeout(WAIT_SECONDS), aclosing(client.ask(request)) as said:
        return [reply async for reply in said]


@contextlib.asynccontextmanager
async def started(folder: Path, **options: Any) -> AsyncIterator[EngineClient]:
    client = EngineClient(folder / "engine.sock", EngineOptions(threads=1, **options))
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))


def gone(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def test_asked_and_closed(tmp_path: Path) -> None:
    async def run() -> int:
        async with started(tmp_path) as client:
            assert not client.running()
            assert client.status()["state"] == "stopped"
            replies = await every(client, chat())
            assert [reply.event for reply in (replies[0], *replies[-2:])] == ["started", "answer", "end"]
            assert client.running()
            mode = stat.S_IMODE((tmp_path / "engine.sock").stat().st_mode)
            assert mode == 0o600
            many = await asyncio.gather(*(every(client, chat(f"Number {n}", 20)) for n in range(16)))
            assert all(one[-1].event == "end" for one in many)
            async with aclosing(client.ask(chat("Tell me a story", 900))) as said:
                async for reply in said:
                    if reply.event == "piece":
                        break
            for _ in range(200):  # who goes away cancels
                status = (await every(client, asked("status")))[0].data
                if not status["requests"]:
                    break
                await asyncio.sleep(0.01)
            assert (status["requests"], status["active"]) == (0, 0)
            unknown = await every(client, asked("load", ModelRef("x", "no-such-model")))
            assert unknown[-1].data["kind"] == "user"
            assert client.status()["requests"] == 0
            pid = client.status()["pid"]
            assert isinstance(pid, int)
            return pid

    pid = asyncio.run(run())
    assert gone(pid)


async def story_with_a_murder(client: EngineClient, pid: int) -> None:
    async with aclosing(client.ask(chat("Tell me a story", 900))) as said:
        async for reply in said:
            if reply.event == "piece" and client.status()["pid"] == pid:
                os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_killed_engine_answers_again(tmp_path: Path) -> None:
    async def run() -> None:
        async with started(tmp_path) as client:
            await every(client, chat())
            first = client.status()["pid"]
            with pytest.raises(ApiError) as caught:
                await story_with_a_murder(client, first)
            died = time.monotonic()
            assert (caught.value.status_code, caught.value.code) == (503, "engine_restarted")
            while not client.running():
                await asyncio.sleep(0.01)
            assert time.monotonic() - died < 5
            assert client.status()["pid"] != first
            assert client.status()["restarts"] == 1
            assert (await every(client, chat()))[-1].event == "end"

    asyncio.run(run())


def test_an_engine_that_cannot_start_is_tried_less_and_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def spawn(*args: Any, **kwargs: Any) -> Any:
        tried.append(time.monotonic())
        raise OSError("no process can be started")

    monkeypatch.setattr(engine_module, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(engine_module.Child, "spawn", spawn)

    async def run() -> None:
        async with started(tmp_path) as client:
            await client.start()
            while client.status()["retry_seconds"] <= 1:
                await asyncio.sleep(0.01)
            with pytest.raises(ApiError) as caught:
                await every(client, asked("status"))
            assert (caught.value.status_code, caught.value.code) == (503, "engine_restarting")
            assert int(caught.value.headers["retry-after"]) >= 1  # type: ignore[index]
            assert client.status()["state"] == "pausing"
            assert not client.running()
            pauses = [later - earlier for earlier, later in itertools.pairwise(tried)]
            assert pauses[-1] > 4 * pauses[0]

    asyncio.run(run())


class Fake:
    """An engine in this process that says what it is told to."""

    def __init__(self, lines: list[bytes], *, hang_up: bool = False) -> None:
        self.lines, self.hang_up = lines, hang_up
        self.got: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.got.append(await reader.readline())
        request = EngineRequest.from_line(self.got[-1])
        for line in self.lines:
            writer.write(line.replace(b"ID", request.id.encode()))
            with contextlib.suppress(ConnectionError):
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            if not self.hang_up:
                self.got.append(await reader.readline())
        writer.close()


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that only waits stands for the engine's."""

    def spawn(argv: Any, environment: Any, **kwargs: Any) -> Any:
        return real(["-c", "import sys; sys.stdin.read()"], environment, **kwargs)

    real = engine_module.Child.spawn
    monkeypatch.setattr(engine_module.Child, "spawn", spawn)


@pytest.mark.usefixtures("no_process")
@pytest.mark.parametrize("line", [b"no json\n", b'{"id": 3}\n', b"[]\n", b"x" * 2**16, b"[" * 5000 + b"\n"])
def test_an_engine_that_talks_nonsense_is_ended(tmp_path: Path, line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "MAX_LINE", 2**14)

    async def run() -> None:
        server = await asyncio.start_unix_server(Fake([line]), str(tmp_path / "engine.sock"))
        async with server, started(tmp_path) as client:
            with pytest.raises(ApiError) as caught:
                await every(client, asked("status"))
            assert caught.value.code == "engine_restarted"

    asyncio.run(run())


@pytest.mark.usefixtures("no_process")
def test_an_engine_that_hangs_up_is_started_again(tmp_path: Path) -> None:
    async def run() -> None:
        end = EngineReply("ID", "end").to_line()
        piece = EngineReply("ID", "piece", {"index": 0, "text": "x"}).to_line()
        fake = Fake([piece], hang_up=True)
        server = await asyncio.start_unix_server(fake, str(tmp_path / "engine.sock"))
        async with server, started(tmp_path) as client:
            with pytest.raises(ApiError) as caught:
                await every(client, asked("status"))
            assert (caught.value.status_code, caught.value.code) == (503, "engine_restarted")
            first = client.status()
            fake.lines, fake.hang_up = [end], False
            assert [reply.event for reply in await every(client, asked("status"))] == ["end"]
            now = client.status()
            assert (now["state"], now["restarts"], now["requests"]) == ("ready", first["restarts"] + 1, 0)

    asyncio.run(run())


async def read_after_a_while(client: EngineClient, request: EngineRequest) -> None:
    async with aclosing(client.ask(request)) as said:
        await anext(said)
        await asyncio.sleep(0.3)
        async for _ in said:
            pass


@pytest.mark.usefixtures("no_process")
def test_a_reader_that_is_too_slow_is_given_up_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "_INBOX_BYTES", 10_000)
    piece = EngineReply("ID", "piece", {"index": 0, "text": "x" * 1000}).to_line()

    async def run() -> None:
        fake = Fake([piece] * 50)
        server = await asyncio.start_unix_server(fake, str(tmp_path / "engine.sock"))
        async with server, started(tmp_path) as client:
            request = asked("status")
            with pytest.raises(ApiError) as caught:
                await read_after_a_while(client, request)
            assert caught.value.code == "slow_reader"
            for _ in range(100):
                if len(fake.got) == 2:
                    break
                await asyncio.sleep(0.01)
            cancel = EngineRequest.from_line(fake.got[1])
            assert (cancel.op, cancel.body) == ("cancel", {"target": request.id})

    asyncio.run(run())


def test_what_cannot_be_sent(tmp_path: Path) -> None:
    async def run() -> None:
        async with started(tmp_path) as client:
            for body, status in (({"x": float("nan")}, 400), ({"x": "y" * 2**25}, 413)):
                with pytest.raises(ApiError) as caught:
                    await every(client, asked("status", **body))
                assert caught.value.status_code == status
            assert client.status()["pid"] is None
        with pytest.raises(ApiError) as caught:
            await every(client, asked("status"))
        assert caught.value.code == "shutting_down"

    asyncio.run(run())
    with pytest.raises(StorageError, match="shorter"):
        EngineClient(tmp_path / ("x" * 120) / "engine.sock")


def test_no_engine_outlives_its_server(tmp_path: Path) -> None:
    """The server is killed; nothing of it can tidy up."""
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from luthier.server.engine import EngineClient\n"
        "async def run():\n"
        "    client = EngineClient(Path(sys.argv[1]))\n"
        "    await client.start()\n"
        "    while not client.running():\n"
        "        await asyncio.sleep(0.01)\n"
        "    print(client.status()['pid'], flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(run())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "engine.sock")], stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        assert not gone(pid)
        server.kill()
        server.wait()
    until = time.monotonic() + 2
    while not gone(pid) and time.monotonic() < until:
        time.sleep(0.01)
    assert gone(pid)


def test_the_client_needs_no_torch() -> None:
    program = "import luthier.server.engine, sys; assert not {'torch', 'transformers', 'peft'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_engine_listens_before_it_imports_torch() -> None:
    program = "import luthier.serve.engine, sys; assert not {'torch', 'transformers', 'peft'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
