"""Graders at work for a client: each in a process of its own, which is stopped when its time is over."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from luthier.jobs.children import minimal_environment
from luthier.server.errors import ApiError

Ask = Callable[[dict[str, Any]], Awaitable[str]]
"""A question of a score_model grader ({"model", "messages", "sampling"}) to the model's answer."""

SECONDS = 120.0
"""For everything, the answers of judging models included; the process itself may compute for 30."""
AT_ONCE = 2
MAX_QUESTIONS = 16
_PROGRAM = "luthier.evaluate.generation.grade_once"
_LONGEST_LINE = 32 * 2**20


class Grading:
    """A server's graders; at most `AT_ONCE` of them run."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def run(self, request: dict[str, Any], ask: Ask, seconds: float = SECONDS) -> dict[str, Any]:
        """What the process says at its end. Raises `ApiError`: 400 for a wrong grader or one that takes too long."""
        try:
            async with asyncio.timeout(seconds), self._turn:
                found = await self._talk(request, ask)
        except TimeoutError:
            raise _too_long() from None
        error = found.get("error")
        if error:
            param = error["param"]
            raise ApiError(
                400,
                error["message"],
                code=error["code"],
                param=f"grader.{param}" if param and not param.startswith("grader") else "grader",
            )
        return found

    async def _talk(self, request: dict[str, Any], ask: Ask) -> dict[str, Any]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", _PROGRAM, str(os.getpid()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=_LONGEST_LINE,
            env=minimal_environment(OMP_NUM_THREADS="1"),
        )  # fmt: skip
        try:
            assert process.stdin is not None and process.stdout is not None
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it ended: its last line says why
                await _send(process.stdin, request)
            for _ in range(MAX_QUESTIONS + 1):
                line = await process.stdout.readline()
                if not line.endswith(b"\n"):  # killed: by the limit of its own time or memory
                    raise _too_long()
                said: dict[str, Any] = json.loads(line)
                if "ask" not in said:
                    return said
                await _send(process.stdin, {"answer": await ask(said["ask"])})
            raise ApiError(
                400, f"A grader may ask models {MAX_QUESTIONS} times.", param="grader", code="invalid_grader"
            )
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            if process.stdin is not None:
                process.stdin.close()
            await asyncio.shield(process.wait())


async def _send(stream: asyncio.StreamWriter, value: dict[str, Any]) -> None:
    stream.write(json.dumps(value).encode() + b"\n")
    await stream.drain()


def _too_long() -> ApiError:
    return ApiError(
        400,
        "The grader needed more time or memory than it may use. Shorten the texts, or use a simpler grader.",
        param="grader",
        code="grader_timeout",
    )


def grading_of(extras: dict[str, object]) -> Grading:
    """The one that belongs to a server's state."""
    found = extras.setdefault(__name__, Grading())
    assert isinstance(found, Grading)
    return found
