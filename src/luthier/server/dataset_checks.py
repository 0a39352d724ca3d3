"""Checks of data sets' versions: each is made once, in a process of its own, and kept beside the file."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from luthier import __version__
from luthier.core import durable
from luthier.core.errors import StorageError
from luthier.jobs.page_records import DatasetVersion
from luthier.jobs.records import Identity
from luthier.server import data_children, store_call
from luthier.server.dataset_sources import temporary_folder
from luthier.server.errors import ApiError
from luthier.server.local_files import local_files
from luthier.server.openai.answers import json_bytes
from luthier.server.openai.files import find_file
from luthier.server.state import AppState

REPORT, FINDINGS = "report.json", "findings.jsonl"
_NAME = "dataset_checks"


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What a check depends on besides the rows; `model` is a base's place, whose tokens are counted."""

    task: str = "auto"
    model: str | None = None
    max_length: int | None = None


@dataclass
class _Running:
    """The checks that are under way, by the artefact that each makes."""

    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    @classmethod
    def of(cls, state: AppState) -> _Running:
        known = state.extras.get(_NAME)
        if not isinstance(known, cls):
            known = state.extras[_NAME] = cls()
        return known


@contextlib.asynccontextmanager
async def checking(app: FastAPI) -> AsyncIterator[None]:
    """The lifespan of a router: what is under way ends with the server."""
    try:
        yield
    finally:
        tasks = list(_Running.of(app.state.luthier).tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def check_name(file_id: str, options: CheckOptions | None = None) -> str:
    """The artefact that is a check of a file; without options, the folder of all of its checks."""
    if options is None:
        return f"checks/{file_id}"
    told = json_bytes([__version__, options.task, options.model, options.max_length])
    return f"checks/{file_id}/{hashlib.sha256(told).hexdigest()[:24]}"


async def check_of(
    state: AppState, caller: Identity, version: DatasetVersion, options: CheckOptions, wait: float | None
) -> Path | None:
    """The folder of a version's check, which is begun where there is none; None: it takes longer than `wait` seconds.

    It goes on when its client leaves, so that whoever asks next has it.

    Raises:
        ApiError: it cannot be made.
    """
    name = check_name(version.file_id, options)
    with contextlib.suppress(StorageError):
        return await store_call.run(state.artefacts.folder, name)
    running = _Running.of(state).tasks
    task = running.get(name)
    if task is None:
        task = running[name] = asyncio.create_task(_make(state, caller, version, options, name))
        task.add_done_callback(lambda done: _forget(running, name, done))
    done, _ = await asyncio.wait({task}, timeout=wait)
    if not done:
        return None
    if task.cancelled():
        raise ApiError(400, "The check was stopped.", code="check_stopped")
    await task
    return await store_call.run(state.artefacts.folder, name)


def _forget(running: dict[str, asyncio.Task[None]], name: str, done: asyncio.Task[None]) -> None:
    running.pop(name, None)
    if not done.cancelled():
        done.exception()  # it was seen, also where nobody waits


async def _make(
    state: AppState, caller: Identity, version: DatasetVersion, options: CheckOptions, name: str
) -> None:
    """Check a version and keep the report."""
    files = [await store_call.run(find_file, state, caller, version.file_id)]
    if version.test_file_id is not None:
        files.append(await store_call.run(find_file, state, caller, version.test_file_id))
    async with data_children.turn(state):
        copies = local_files(state, files)
        paths = await store_call.run(copies.__enter__)
        try:
            with temporary_folder(state) as folder:
                request = {
                    "data": str(paths[0]), "test": str(paths[1]) if len(paths) > 1 else None, "task": options.task,
                    "model": options.model, "max_length": options.max_length,
                    "findings_file": str(folder / FINDINGS),
                    "names": {str(path): file.filename for path, file in zip(paths, files, strict=True)},
                }  # fmt: skip
                answer = await data_children.ask("luthier.jobs.data_check", request, param="version", what="check")
                error = answer.get("error")
                if error is not None:
                    raise ApiError(400, str(error["message"]), param=error.get("param"), code=error.get("code"))

                def keep() -> None:
                    durable.write_bytes(folder / REPORT, json_bytes(answer["report"]))
                    state.artefacts.put_folder(name, folder)

                await store_call.run(keep)
        finally:
            await asyncio.shield(store_call.run(copies.__exit__, None, None, None))


def read_report(folder: Path) -> dict[str, Any]:
    """The report of a check."""
    report: dict[str, Any] = json.loads((folder / REPORT).read_bytes())
    return report
