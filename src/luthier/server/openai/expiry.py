"""What has expired goes: files whose time is over, and uploads that were never completed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from fastapi import FastAPI

from luthier.core.errors import LuthierError
from luthier.jobs.errors import Conflict, NotFound
from luthier.server import store_call
from luthier.server.openai.answers import now
from luthier.server.state import AppState

SECONDS_BETWEEN = 60.0
_log = logging.getLogger(__name__)


def sweep(state: AppState) -> None:
    """Remove everything that has expired; blocks. A file that a job needs stays until the job is over."""
    at = now()
    for file in state.store.files.expired(at):
        with contextlib.suppress(NotFound, Conflict):  # deleted, or taken up by a job, a moment ago
            state.artefacts.delete(state.store.files.delete(file.project_id, file.id).artefact)
    for upload in state.store.uploads.expire(at):
        for part in state.store.uploads.parts(upload.project_id, upload.id):
            state.artefacts.delete(part.artefact)


@contextlib.asynccontextmanager
async def sweeping(app: FastAPI) -> AsyncIterator[None]:
    """Sweep now and then while the server runs."""

    async def forever() -> None:
        while True:
            await asyncio.sleep(SECONDS_BETWEEN)
            try:
                await store_call.run(sweep, app.state.luthier)
            except LuthierError as error:  # a full disk or a database that is away; the next time it may work
                _log.warning("what has expired could not be removed: %s", error.code)
            except Exception:  # else nothing would be swept any more, and nobody would know
                _log.exception("what has expired could not be removed")

    task = asyncio.create_task(forever())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
