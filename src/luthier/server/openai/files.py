"""Files: uploaded in a stream, listed, given back, deleted."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from luthier.jobs.errors import NotFound
from luthier.jobs.ids import new_id
from luthier.jobs.records import Identity, StoredFile
from luthier.server import store_call
from luthier.server.auth import Caller
from luthier.server.bodies import takes_files
from luthier.server.errors import ApiError
from luthier.server.openai.answers import (
    ERRORS,
    After,
    Id,
    PageShape,
    Shape,
    check_id,
    failure,
    json_response,
    list_of,
    now,
    shown,
)
from luthier.server.openai.downloads import download
from luthier.server.openai.expiry import sweeping
from luthier.server.openai.multipart import Received, form_schema, receive
from luthier.server.state import AppState, State
from luthier.server.turns import Turn, Turns

router = APIRouter(prefix="/v1", tags=["Files"], responses=ERRORS, lifespan=sweeping)

PURPOSES = ("fine-tune", "batch", "user_data")
"""What a client may upload for. ``fine-tune-results`` is made here only."""
RESULTS = "fine-tune-results"
BATCH_SECONDS = 30 * 24 * 3600
"""Files for batches go after 30 days, as OpenAI's."""
SHORTEST_LIFE, LONGEST_LIFE = 3600, BATCH_SECONDS
LONGEST_FILENAME = 255
UPLOADS_AT_ONCE = 32
"""Bodies that are read at the same time, of those that come quickly."""
UPLOAD_TURN_SECONDS = 2.0
_SECONDS = re.compile(r"[0-9]{1,9}")

# What the first bytes say, whatever the name says. Nothing here is ever unpacked.
_ARCHIVES = (
    (0, b"PK\x03\x04", "a zip file"), (0, b"PK\x05\x06", "a zip file"), (0, b"\x1f\x8b", "gzip"), (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\x00", "xz"), (0, b"\x28\xb5\x2f\xfd", "zstd"), (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"Rar!\x1a\x07", "rar"), (0, b"\x04\x22\x4d\x18", "lz4"), (0, b"\x1f\x9d", "compress"),
    (0, b"LZIP", "lzip"), (257, b"ustar", "tar"),
)  # fmt: skip

Purpose = Literal["fine-tune", "batch", "user_data", "fine-tune-results"]


class FileObject(Shape):
    """A stored file."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int | None = None
    filename: str
    purpose: Purpose
    status: Literal["uploaded", "processed", "error"]
    status_details: str | None = None


class FileList(PageShape):
    data: list[FileObject]


class FileDeleted(Shape):
    id: str
    object: Literal["file"]
    deleted: bool


def file_json(file: StoredFile) -> dict[str, Any]:
    """A file as OpenAI writes it."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": file.created_at,
        "expires_at": file.expires_at,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": file.status,
        "status_details": file.status_details,
    }


def file_missing(file_id: str, param: str = "id", status: int = 404) -> ApiError:
    """The same answer for every file that this caller may not use."""
    return ApiError(status, f"No such File object: {shown(file_id)}", param=param, code="file_not_found")


def find_file(state: AppState, caller: Identity, file_id: str, param: str = "id") -> StoredFile:
    """A file of the caller's project; blocks. Raises 404 for any other, and for one whose time is over."""
    missing = file_missing(file_id, param)
    try:
        file = state.store.files.get(caller.project_id, check_id(file_id, missing))
    except NotFound:
        raise missing from None
    if file.expires_at is not None and file.expires_at <= now():
        raise missing
    return file


def check_purpose(purpose: str | None) -> str:
    """A purpose that a client may name, or a 400."""
    if purpose is None:
        raise ApiError(400, "Missing required parameter: 'purpose'.", param="purpose",
                       code="missing_required_parameter")  # fmt: skip
    if purpose not in PURPOSES:
        raise ApiError(
            400,
            f"'{shown(purpose)}' is no purpose that this server has; use one of {', '.join(PURPOSES)}.",
            param="purpose",
            code="invalid_purpose",
        )
    return purpose


def clean_filename(name: str) -> str:
    """The last part of a name; empty where nothing is left. It is only ever shown, never a path."""
    last = re.split(r"[/\\]", name)[-1]
    return "".join(letter for letter in last if letter.isprintable())[:LONGEST_FILENAME].strip()


def refuse_archive(start: bytes, param: str = "file") -> None:
    """415 for what must be unpacked before it can be read."""
    for at, mark, what in _ARCHIVES:
        if start[at : at + len(mark)] == mark:
            raise ApiError(
                415,
                f"This is {what}; upload the file that is inside. Archives are not unpacked here.",
                param=param,
                code="unsupported_file_type",
            )


def reading(state: AppState) -> Turn:
    """A turn to read the body of an upload; until then the connection keeps only its first bytes."""
    known = state.extras.get("openai.files")
    if not isinstance(known, Turns):
        known = state.extras["openai.files"] = Turns(UPLOADS_AT_ONCE, UPLOAD_TURN_SECONDS)
    return known.turn()


async def room_for(state: AppState, caller: Identity, largest: int) -> tuple[int, ApiError]:
    """(bytes that the caller may still store, at most `largest`; the error when there are more)."""
    used = await store_call.run(state.store.files.usage, caller.project_id)
    left = max(0, state.settings.max_project_bytes - used)
    if left < largest:
        message = f"The project may store {state.settings.max_project_bytes:,} bytes; {left:,} are left."
        message += " Delete a file or an export."
        return left, ApiError(413, message, param="file", code="project_storage_full")
    return largest, ApiError(413, f"The file may have {largest:,} bytes.", param="file", code="file_too_large")


@router.post(
    "/files",
    response_model=FileObject,
    responses={**failure(413, "The file is too large."), **failure(415, "An archive, or no form.")},
    openapi_extra=form_schema(
        "file",
        {"purpose": {"type": "string", "enum": list(PURPOSES)}},
        {
            "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
            "expires_after[seconds]": {"type": "integer", "minimum": SHORTEST_LIFE, "maximum": LONGEST_LIFE},
        },
        together=("expires_after[anchor]", "expires_after[seconds]"),
    ),
)
@takes_files
async def create_file(request: Request, state: State, caller: Caller) -> Response:
    """Upload a file: JSON lines, CSV or Parquet to learn from, or anything else to keep."""
    async with reading(state):
        return await _receive_file(request, state, caller)


async def _receive_file(request: Request, state: AppState, caller: Identity) -> Response:
    largest, too_large = await room_for(state, caller, state.settings.max_file_bytes)
    file_id = new_id("file-")
    artefact = f"files/{file_id}"
    with await store_call.run(state.artefacts.writer, artefact) as writer:
        begun = False

        async def sink(piece: bytes) -> None:
            nonlocal begun
            if not begun:
                refuse_archive(piece)
                begun = True
            await store_call.run(writer.write, piece)

        received = await receive(
            request, sink, file="file", largest=largest, too_large=too_large,
            fields=("purpose", "expires_after[anchor]", "expires_after[seconds]"),
        )  # fmt: skip
        wanted = _wanted(received)
        size, sha256 = await store_call.run(writer.commit)
    created = now()
    file = StoredFile(
        id=file_id, project_id=caller.project_id, filename=wanted[0], purpose=wanted[1], bytes=size, sha256=sha256,
        artefact=artefact, created_at=created, expires_at=None if wanted[2] is None else created + wanted[2],
    )  # fmt: skip
    return json_response(file_json(await store_call.run(add_file, state, file)))


def add_file(state: AppState, file: StoredFile) -> StoredFile:
    """Enter a file whose bytes are stored; they go again when that fails."""
    try:
        return state.store.files.add(file, state.settings.max_project_bytes)
    except BaseException:
        state.artefacts.delete(file.artefact)
        raise


def _wanted(received: Received) -> tuple[str, str, int | None]:
    """(name, purpose, seconds until it expires) of what came."""
    purpose = check_purpose(received.fields.get("purpose"))
    filename = clean_filename(received.filename)
    if not filename:
        raise ApiError(400, "'file' must be a file, with a name.", param="file", code="invalid_file")
    if received.bytes == 0:
        raise ApiError(400, "The file is empty.", param="file", code="empty_file")
    anchor, seconds = (received.fields.get(f"expires_after[{name}]") for name in ("anchor", "seconds"))
    if anchor is None and seconds is None:
        return filename, purpose, BATCH_SECONDS if purpose == "batch" else None
    if anchor != "created_at":
        raise ApiError(400, "'expires_after[anchor]' must be 'created_at'.", param="expires_after.anchor",
                       code="invalid_value")  # fmt: skip
    if seconds is None or not _SECONDS.fullmatch(seconds) or not SHORTEST_LIFE <= int(seconds) <= LONGEST_LIFE:
        raise ApiError(
            400,
            f"'expires_after[seconds]' must be a whole number from {SHORTEST_LIFE} to {LONGEST_LIFE}.",
            param="expires_after.seconds",
            code="invalid_value",
        )
    return filename, purpose, int(seconds)


@router.get("/files", response_model=FileList)
async def list_files(
    state: State,
    caller: Caller,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
    purpose: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """The project's files, newest first."""
    if after is not None:
        check_id(after, file_missing(after, "after"))
    try:
        page = await store_call.run(state.store.files.list, caller.project_id, purpose, after, limit, order)
    except NotFound:
        raise file_missing(after or "", "after") from None
    at = now()
    return json_response(list_of(
        [file_json(file) for file in page.items if file.expires_at is None or file.expires_at > at], page.has_more
    ))  # fmt: skip


@router.get("/files/{file_id}", response_model=FileObject)
async def get_file(file_id: Id, state: State, caller: Caller) -> Response:
    """One file, without its content."""
    return json_response(file_json(await store_call.run(find_file, state, caller, file_id)))


@router.delete("/files/{file_id}", response_model=FileDeleted, responses=failure(409, "A job still needs it."))
async def delete_file(file_id: Id, state: State, caller: Caller) -> Response:
    """Delete a file. One that a job which is not over learns from stays: 409."""
    await store_call.run(_delete, state, caller, file_id)
    return json_response({"id": file_id, "object": "file", "deleted": True})


def _delete(state: AppState, caller: Identity, file_id: str) -> None:
    find_file(state, caller, file_id)
    try:
        file = state.store.files.delete(caller.project_id, file_id)
    except NotFound:
        raise file_missing(file_id) from None
    state.artefacts.delete(file.artefact)


@router.get(
    "/files/{file_id}/content",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {}}, "description": "The bytes, as they were sent."},
        206: {"content": {"application/octet-stream": {}}, "description": "One range of them."},
        **failure(416, "The range is outside of the file."),
    },
)
async def get_content(file_id: Id, request: Request, state: State, caller: Caller) -> Response:
    """The content. A result file is plain CSV; it is not base64 as OpenAI's is."""
    file = await store_call.run(find_file, state, caller, file_id)
    return await download(request, state, file.artefact, file.filename, file.bytes)
