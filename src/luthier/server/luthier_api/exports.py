"""Exports of tuned models: weights for other programs, made in the background and downloaded as one file."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Request
from fastapi import Path as InPath
from fastapi.responses import Response
from pydantic import Field

from luthier.core.errors import LuthierError
from luthier.jobs.export_sizes import least_bytes
from luthier.jobs.ids import new_id
from luthier.jobs.page_records import ModelExport
from luthier.jobs.records import Identity, Model
from luthier.server import data_children, store_call
from luthier.server.auth import Caller
from luthier.server.dataset_sources import temporary_folder
from luthier.server.errors import ApiError
from luthier.server.names import LONGEST_NAME
from luthier.server.openai.answers import ERRORS, LONGEST_ID, Shape, failure, json_response, now
from luthier.server.openai.body import Body
from luthier.server.openai.downloads import download
from luthier.server.openai.models import find_tuned
from luthier.server.state import AppState, State

log = logging.getLogger("luthier.server")
LONGEST_SECONDS = 7200.0
_NAME = "exports"
_PLAIN = re.compile(r"[^A-Za-z0-9.-]+")

ModelPath = Annotated[str, InPath(min_length=1, max_length=LONGEST_NAME)]
ExportId = Annotated[str, InPath(max_length=LONGEST_ID, pattern=r"^[A-Za-z0-9_-]+$")]


class ExportRequest(Body):
    """`to`: plain weights with the adapter merged in, the adapter alone, a GGUF file for llama.cpp, or ONNX. `dtype`:
    as `luthier export --dtype` has it; without, the form's own."""

    to: Literal["merged", "adapter", "gguf", "onnx"]
    dtype: Literal["f16", "q8_0", "fp32", "bf16"] | None = None


class ExportObject(Shape):
    """An export. `bytes` are those of the archive, when it is done; `error` says why one has failed."""

    class Error(Shape):
        code: str | None
        message: str

    object: Literal["export"]
    id: str
    model: str
    to: str
    dtype: str | None
    status: Literal["running", "succeeded", "failed"]
    filename: str
    bytes: int
    error: Error | None
    created_at: int
    finished_at: int | None


class ExportList(Shape):
    """The exports of a model, newest first."""

    object: Literal["list"]
    data: Annotated[list[ExportObject], Field(max_length=1000)]


class ExportDeleted(Shape):
    id: str
    object: Literal["export.deleted"]
    deleted: bool


@dataclass
class _Running:
    """The exports that are under way; one at a time has the processor."""

    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))

    @classmethod
    def of(cls, state: AppState) -> _Running:
        known = state.extras.get(_NAME)
        if not isinstance(known, cls):
            known = state.extras[_NAME] = cls()
        return known


@contextlib.asynccontextmanager
async def _exporting(app: FastAPI) -> AsyncIterator[None]:
    """What an earlier server had begun has failed; what this one has begun ends with it."""
    state: AppState = app.state.luthier
    old = now() if state.store.database.exclusive else now() - int(LONGEST_SECONDS)
    with contextlib.suppress(LuthierError):
        await store_call.run(state.store.exports.interrupted, now(), old)
    try:
        yield
    finally:
        tasks = list(_Running.of(state).tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


router = APIRouter(prefix="/luthier/v1/models", tags=["Models"], responses=ERRORS, lifespan=_exporting)


@router.post("/{model:path}/exports", operation_id="createExport", response_model=ExportObject,
             responses=failure(409, "There are too many.") | failure(413, "There is no room."))  # fmt: skip
async def create_export(model: ModelPath, body: ExportRequest, state: State, caller: Caller) -> Response:
    """Begin an export. The exported weights are read again and compared with the model before it succeeds. It counts
    towards what the project may store; one that surely does not fit is refused."""
    record = await store_call.run(_own, state, caller, model)
    least = await store_call.run(_least, state, record, body) if state.settings.artefacts_are_here else 1
    ending = f"-{body.dtype}" if body.dtype else ""
    filename = f"{_PLAIN.sub('-', model).strip('-')[:120]}-{body.to}{ending}.tar"
    options = {"to": body.to, "dtype": body.dtype}
    export = ModelExport(
        new_id("exp_"), caller.project_id, model, options, "running", filename, least, None, now(), None
    )  # fmt: skip
    await store_call.run(state.store.exports.create, export, state.settings.max_project_bytes)
    running = _Running.of(state)
    task = running.tasks[export.id] = asyncio.create_task(_export(state, record, export))
    task.add_done_callback(lambda _: running.tasks.pop(export.id, None))
    return json_response(_shape(export))


@router.get("/{model:path}/exports", operation_id="listExports", response_model=ExportList)
async def list_exports(model: ModelPath, state: State, caller: Caller) -> Response:
    """The exports of a model."""
    await store_call.run(_own, state, caller, model)
    found = await store_call.run(state.store.exports.list, caller.project_id, model)
    return json_response({"object": "list", "data": [_shape(one) for one in found]})


@router.get("/{model:path}/exports/{export_id}", operation_id="getExport", response_model=ExportObject)
async def get_export(model: ModelPath, export_id: ExportId, state: State, caller: Caller) -> Response:
    """One export."""
    return json_response(_shape(await store_call.run(_find, state, caller, model, export_id)))


@router.delete("/{model:path}/exports/{export_id}", operation_id="deleteExport", response_model=ExportDeleted)
async def delete_export(model: ModelPath, export_id: ExportId, state: State, caller: Caller) -> Response:
    """Forget an export and its file; one that is being made is stopped."""
    await store_call.run(_find, state, caller, model, export_id)
    await store_call.run(state.store.exports.delete, caller.project_id, export_id)
    task = _Running.of(state).tasks.get(export_id)
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await store_call.run(state.artefacts.delete, _artefact(export_id))
    return json_response({"id": export_id, "object": "export.deleted", "deleted": True})


@router.get(
    "/{model:path}/exports/{export_id}/content", operation_id="downloadExport", response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {}}, "description": "A tar archive, always a download."},
        206: {"content": {"application/octet-stream": {}}, "description": "One range of it."},
        **failure(409, "It is not done."), **failure(416, "The range is outside of the file."),
    },
)  # fmt: skip
async def download_export(
    model: ModelPath, export_id: ExportId, request: Request, state: State, caller: Caller
) -> Response:
    """The exported files, in one tar archive."""
    export = await store_call.run(_find, state, caller, model, export_id)
    if export.status != "succeeded":
        raise ApiError(409, f"The export is {export.status}.", code="export_not_ready")
    return await download(request, state, _artefact(export.id), export.filename, export.bytes)


async def _export(state: AppState, record: Model, export: ModelExport) -> None:
    """Make the export, and say in the store what came of it."""
    error: dict[str, Any] | None = {"code": "interrupted", "message": "The export was stopped."}
    size = 0
    try:
        async with _Running.of(state).free:
            with temporary_folder(state) as folder:
                model = await store_call.run(state.artefacts.folder, record.artefact)
                request = {
                    **export.options, "folder": str(model), "out": str(folder / "out"),
                    "archive": str(folder / "archive"), "top": export.filename.removesuffix(".tar"),
                    "names": {str(model): export.model, str(folder / "out"): export.filename},
                }  # fmt: skip
                told = await data_children.ask(
                    "luthier.jobs.model_export", request, param="to", what="export", seconds=LONGEST_SECONDS
                )
                error = told.get("error")
                if error is None:
                    size = await store_call.run(_keep, state, export, folder / "archive")
    except ApiError as problem:
        error = {"code": problem.code, "message": problem.message}
    except LuthierError as problem:
        error = {"code": problem.code, "message": str(problem)}
    except Exception:
        log.exception("an export failed")
        error = {"code": "server_error", "message": "The server had an internal error."}
    finally:
        kept = None if error is None else {"code": error.get("code"), "message": str(error["message"])[:2000]}
        there = await asyncio.shield(
            store_call.run(state.store.exports.finish, export.id, now(), size=size, error=kept)
        )
        if not there and size:
            await asyncio.shield(store_call.run(state.artefacts.delete, _artefact(export.id)))


def _least(state: AppState, record: Model, asked: ExportRequest) -> int:
    """Bytes of the export, at least; also where nobody knows there is one."""
    try:
        return max(1, least_bytes(state.artefacts.folder(record.artefact), asked.to, asked.dtype))
    except LuthierError:
        return 1


def _keep(state: AppState, export: ModelExport, archive: Path) -> int:
    """Store the archive, now that its size is known; raises `NoRoom` before that where it does not fit."""
    most = state.settings.max_project_bytes
    state.store.exports.keep_room(export.project_id, export.id, archive.stat().st_size, most)
    with open(archive, "rb") as stream, state.artefacts.writer(_artefact(export.id)) as writer:
        while piece := stream.read(2**20):
            writer.write(piece)
        return writer.commit()[0]


def _artefact(export_id: str) -> str:
    return f"exports/{export_id}"


def _own(state: AppState, caller: Identity, name: str) -> Model:
    """A tuned model of the caller's own project; one that another project lets it use is not given away."""
    record = find_tuned(state, caller, name)
    if record.project_id != caller.project_id:
        raise ApiError(403, f"'{name}' belongs to another project, which lets this one ask it.", param="model",
                       code="model_not_exportable")  # fmt: skip
    return record


def _find(state: AppState, caller: Identity, model: str, export_id: str) -> ModelExport:
    export = state.store.exports.get(caller.project_id, export_id)
    if export.model != model:
        raise ApiError(404, f"there is no export {export_id!r}.", code="not_found")
    return export


def _shape(export: ModelExport) -> dict[str, Any]:
    return {
        "object": "export", "id": export.id, "model": export.model, "to": export.options["to"],
        "dtype": export.options.get("dtype"), "status": export.status, "filename": export.filename,
        "bytes": export.bytes if export.status == "succeeded" else 0, "error": export.error,
        "created_at": export.created_at, "finished_at": export.finished_at,
    }  # fmt: skip
