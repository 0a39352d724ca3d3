"""The inference engine's process: ``python -m luthier.serve.engine --socket PATH``.

It listens at once; what computes is imported meanwhile. It ends with its parent, or when its stdin is closed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import sys
import threading
from pathlib import Path

from luthier.core.answering import MAX_LINE, EngineOptions, EngineReply, EngineRequest
from luthier.core.children import die_with_parent
from luthier.serve.replies import error_data
from luthier.serve.scheduler import Scheduler

_UNREAD_BYTES = 128 * 2**20
"""Of replies that the other side does not read; then it is taken for dead."""
_log = logging.getLogger("luthier.serve.engine")


class Connection:
    """One client: the lines that it sends, and those that it gets."""

    def __init__(self, scheduler: Scheduler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._scheduler, self._reader, self._writer = scheduler, reader, writer
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Until it hangs up, or sends what is no line."""
        try:
            while line := await self._reader.readline():
                if not line.endswith(b"\n"):
                    break
                self._take(line)
        except (ValueError, ConnectionError):  # ValueError: longer than MAX_LINE
            _log.warning("a connection was closed, since it does not keep to the protocol")
        finally:
            self._scheduler.forget(self)
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    def send(self, reply: EngineReply) -> None:
        """From any thread."""
        try:
            line = reply.to_line()
        except (ValueError, TypeError, RecursionError) as error:  # a number that JSON has no word for
            line = EngineReply(reply.id, "error", error_data(error)).to_line()
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._write, line)

    def _write(self, line: bytes) -> None:
        if self._writer.is_closing():
            return
        self._writer.write(line)
        if self._writer.transport.get_write_buffer_size() > _UNREAD_BYTES:
            _log.error("the client of the engine reads nothing; it is taken for dead")
            self._writer.transport.abort()

    def _take(self, line: bytes) -> None:
        try:
            request = EngineRequest.from_line(line)
            if not isinstance(request.body, dict):
                raise ValueError("no body")
        except (ValueError, TypeError, KeyError, RecursionError):
            _log.warning("a line that is no request was left out")
            return
        self._scheduler.submit(request, self, self.send)


async def serve(socket: Path, options: EngineOptions) -> None:
    """Listen until cancelled."""
    scheduler = Scheduler(options)
    scheduler.start()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Connection(scheduler, reader, writer).run()

    mask = os.umask(0o177)
    try:
        server = await asyncio.start_unix_server(connected, str(socket), limit=MAX_LINE)
    finally:
        os.umask(mask)
    async with server:
        await server.serve_forever()


def main(argv: list[str] | None = None) -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m luthier.serve.engine", description=__doc__)
    parser.add_argument("--socket", type=Path, required=True, help="where to listen; made with mode 0600")
    parser.add_argument("--parent", type=int, help="end with this process, and when stdin is closed")
    parser.add_argument("--options", default="{}", help="JSON, see core.answering.EngineOptions")
    chosen = parser.parse_args(argv)
    if chosen.parent is not None:
        die_with_parent(chosen.parent)
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s engine %(levelname)s %(message)s")
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(chosen.socket, EngineOptions.from_text(chosen.options)))


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
