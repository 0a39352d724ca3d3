"""Uploads: a large file that comes in parts of up to 64 MB and becomes one file at the end."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from luthier.jobs.errors import Conflict, NotFound
from luthier.jobs.ids import new_id
from luthier.jobs.records import Identity, Part, StoredFile, Upload
from luthier.server import store_call
from luthier.server.auth import Caller
from luthier.server.bodies import takes_files
from luthier.server.errors import ApiError
from luthier.server.openai.answers import (
    ERRORS,
    LONGEST_ID,
    PLAIN_TEXT,
    Id,
    Shape,
    check_id,
    failure,
    json_response,
    now,
    shown,
)
from luthier.server.openai.body import Body
from luthier.server.openai.files import (
    BATCH_SECONDS,
    LONGEST_LIFE,
    PURPOSES,
    SHORTEST_LIFE,
    FileObject,
    check_purpose,
    clean_filename,
    file_json,
    find_file,
    reading,
    refuse_archive,
    room_for,
)
from luthier.server.openai.multipart import form_schema, receive
from luthier.server.state import AppState, State

router = APIRouter(prefix="/v1", tags=["Uploads"], responses={**ERRORS, **failure(409, "The upload is over already.")})

MIB = 2**20
LARGEST_PART = 64 * MIB
LARGEST_UPLOAD = 8 * 2**30
UPLOAD_SECONDS = 3600
MOST_PARTS = 100_000
_COPY = MIB

Text = Annotated[str, Field(pattern=PLAIN_TEXT)]


class Expiry(Body):
    anchor: Literal["created_at"]
    seconds: int = Field(ge=SHORTEST_LIFE, le=LONGEST_LIFE)


class UploadRequest(Body):
    """What a client says of a file before it sends it."""

    filename: Text = Field(min_length=1, max_length=1024)
    purpose: str = Field(max_length=64, json_schema_extra={"enum": list(PURPOSES)})
    bytes: int = Field(ge=1, le=LARGEST_UPLOAD)
    mime_type: Text = Field(max_length=255)
    expires_after: Expiry | None = None


class CompleteRequest(Body):
    """The parts in their order, and the md5 of the whole."""

    part_ids: list[Annotated[str, Field(max_length=LONGEST_ID)]] = Field(
        min_length=1, max_length=MOST_PARTS, json_schema_extra={"uniqueItems": True}
    )
    md5: str | None = Field(None, pattern="^[0-9a-fA-F]{32}$")


class UploadObject(Shape):
    """An upload."""

    id: str
    object: Literal["upload"]
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["pending", "completed", "cancelled", "expired"]
    file: FileObject | None = None


class UploadPart(Shape):
    """A part of an upload."""

    id: str
    object: Literal["upload.part"]
    created_at: int
    upload_id: str


def upload_json(upload: Upload, file: StoredFile | None) -> dict[str, Any]:
    """An upload as OpenAI writes it; one whose time is over says so before it is swept."""
    late = upload.status == "pending" and upload.expires_at <= now()
    return {
        "id": upload.id,
        "object": "upload",
        "bytes": upload.bytes,
        "created_at": upload.created_at,
        "expires_at": upload.expires_at,
        "filename": upload.filename,
        "purpose": upload.purpose,
        "status": "expired" if late else upload.status,
        "file": None if file is None else file_json(file),
    }


@router.post("/uploads", response_model=UploadObject, responses=failure(413, "There is no room for it."))
async def create_upload(body: UploadRequest, state: State, caller: Caller) -> Response:
    """Begin an upload; it expires after an hour."""
    purpose = check_purpose(body.purpose)
    filename = clean_filename(body.filename)
    if not filename:
        raise ApiError(400, "'filename' holds no name.", param="filename", code="invalid_value")
    largest, too_large = await room_for(state, caller, LARGEST_UPLOAD)
    if body.bytes > largest:
        raise too_large
    created = now()
    upload = Upload(
        id=new_id("upload_"), project_id=caller.project_id, filename=filename, purpose=purpose, bytes=body.bytes,
        mime_type=body.mime_type, status="pending", created_at=created, expires_at=created + UPLOAD_SECONDS,
        file_seconds=body.expires_after.seconds if body.expires_after else None,
    )  # fmt: skip
    return json_response(upload_json(await store_call.run(state.store.uploads.add, upload), None))


@router.post(
    "/uploads/{upload_id}/parts",
    response_model=UploadPart,
    responses={**failure(413, "The part is too large."), **failure(415, "An archive, or no form.")},
    openapi_extra=form_schema("data", {}, {}),
)
@takes_files
async def add_part(upload_id: Id, request: Request, state: State, caller: Caller) -> Response:
    """Add a part of at most 64 MB. Several may come at once; their order is told at the end."""
    async with reading(state):
        return await _receive_part(upload_id, request, state, caller)


async def _receive_part(upload_id: str, request: Request, state: AppState, caller: Identity) -> Response:
    left = await store_call.run(_left, state, caller, upload_id)
    largest = min(LARGEST_PART, left)
    too_large = ApiError(
        413, f"This part may have {largest:,} bytes: 64 MB, and no more than the upload was announced with.",
        param="data", code="part_too_large",
    )  # fmt: skip
    part_id = new_id("part_")
    artefact = f"uploads/{part_id}"
    with await store_call.run(state.artefacts.writer, artefact) as writer:

        async def sink(piece: bytes) -> None:
            await store_call.run(writer.write, piece)

        received = await receive(request, sink, file="data", fields=(), largest=largest, too_large=too_large)
        if received.bytes == 0:
            raise ApiError(400, "The part is empty.", param="data", code="empty_file")
        size, sha256 = await store_call.run(writer.commit)
    part = Part(part_id, upload_id, size, sha256, artefact, now())
    await store_call.run(_add_part, state, caller, part)
    return json_response(
        {"id": part_id, "object": "upload.part", "created_at": part.created_at, "upload_id": upload_id}
    )


@router.post("/uploads/{upload_id}/complete", response_model=UploadObject)
async def complete_upload(upload_id: Id, body: CompleteRequest, state: State, caller: Caller) -> Response:
    """Put the parts together. Asked again, a completed upload answers the same."""
    upload, file = await store_call.run(_complete, state, caller, upload_id, body)
    return json_response(upload_json(upload, file))


@router.post("/uploads/{upload_id}/cancel", response_model=UploadObject)
async def cancel_upload(upload_id: Id, state: State, caller: Caller) -> Response:
    """Give an upload up; its parts go."""
    return json_response(upload_json(await store_call.run(_cancel, state, caller, upload_id), None))


def upload_missing(upload_id: str) -> ApiError:
    """The same answer for every upload that this caller may not use."""
    return ApiError(404, f"No such Upload object: {shown(upload_id)}", param="upload_id", code="upload_not_found")


def find_upload(state: AppState, caller: Identity, upload_id: str) -> Upload:
    """An upload of the caller's project; blocks."""
    missing = upload_missing(upload_id)
    try:
        return state.store.uploads.get(caller.project_id, check_id(upload_id, missing))
    except NotFound:
        raise missing from None


def _open(state: AppState, caller: Identity, upload_id: str) -> Upload:
    """An upload that still takes parts."""
    upload = find_upload(state, caller, upload_id)
    if upload.status != "pending" or upload.expires_at <= now():
        status = "expired" if upload.status == "pending" else upload.status
        raise ApiError(400, f"The upload is {status}; begin a new one.", param="upload_id", code=f"upload_{status}")
    return upload


def _left(state: AppState, caller: Identity, upload_id: str) -> int:
    upload = _open(state, caller, upload_id)
    parts = state.store.uploads.parts(caller.project_id, upload_id)
    if len(parts) >= MOST_PARTS:
        raise ApiError(400, f"An upload has at most {MOST_PARTS:,} parts.", param="data", code="too_many_parts")
    return max(0, upload.bytes - sum(part.bytes for part in parts))


def _add_part(state: AppState, caller: Identity, part: Part) -> None:
    try:
        state.store.uploads.add_part(caller.project_id, part, state.settings.max_project_bytes)
    except BaseException:
        state.artefacts.delete(part.artefact)
        raise


def _complete(
    state: AppState, caller: Identity, upload_id: str, body: CompleteRequest
) -> tuple[Upload, StoredFile | None]:
    upload = find_upload(state, caller, upload_id)
    if upload.status == "completed" and upload.file_id is not None:
        return upload, find_file(state, caller, upload.file_id)
    _open(state, caller, upload_id)
    if len(set(body.part_ids)) != len(body.part_ids):
        raise ApiError(400, "A part is named twice.", param="part_ids", code="duplicate_part")
    for part_id in body.part_ids:
        check_id(part_id, _no_part(part_id))
    try:
        parts = state.store.uploads.parts(caller.project_id, upload_id, body.part_ids)
    except NotFound:
        known = {part.id for part in state.store.uploads.parts(caller.project_id, upload_id)}
        raise _no_part(next((part_id for part_id in body.part_ids if part_id not in known), "")) from None
    total = sum(part.bytes for part in parts)
    if total != upload.bytes:
        raise ApiError(
            400,
            f"The parts have {total:,} bytes together, but the upload was announced with {upload.bytes:,}.",
            param="part_ids",
            code="size_mismatch",
        )
    file = _join(state, upload, parts, body.md5)
    try:
        done = state.store.uploads.complete(caller.project_id, upload_id, file)
    except BaseException as error:
        state.artefacts.delete(file.artefact)
        if isinstance(error, Conflict):  # another request was faster; it says what became of the upload
            upload = find_upload(state, caller, upload_id)
            if upload.status == "completed" and upload.file_id is not None:
                return upload, find_file(state, caller, upload.file_id)
        raise
    for part in state.store.uploads.parts(caller.project_id, upload_id):
        state.artefacts.delete(part.artefact)
    return done, file


def _join(state: AppState, upload: Upload, parts: list[Part], md5: str | None) -> StoredFile:
    """The parts as one artefact."""
    file_id = new_id("file-")
    artefact = f"files/{file_id}"
    digest = hashlib.md5(usedforsecurity=False)
    with state.artefacts.writer(artefact) as writer:
        begun = False
        for part in parts:
            with state.artefacts.open_read(part.artefact) as stream:
                while piece := stream.read(_COPY):
                    if not begun:
                        refuse_archive(piece, "part_ids")
                        begun = True
                    digest.update(piece)
                    writer.write(piece)
        if md5 is not None and digest.hexdigest() != md5.lower():
            raise ApiError(
                400, "The md5 of the parts put together is not the one that was sent.", param="md5",
                code="checksum_mismatch",
            )  # fmt: skip
        size, sha256 = writer.commit()
    created = now()
    seconds = BATCH_SECONDS if upload.file_seconds is None and upload.purpose == "batch" else upload.file_seconds
    return StoredFile(
        id=file_id, project_id=upload.project_id, filename=upload.filename, purpose=upload.purpose, bytes=size,
        sha256=sha256, artefact=artefact, created_at=created, expires_at=None if seconds is None else created + seconds,
    )  # fmt: skip


def _cancel(state: AppState, caller: Identity, upload_id: str) -> Upload:
    upload = find_upload(state, caller, upload_id)
    if upload.status == "cancelled":
        return upload
    _open(state, caller, upload_id)
    cancelled = state.store.uploads.cancel(caller.project_id, upload_id)
    for part in state.store.uploads.parts(caller.project_id, upload_id):
        state.artefacts.delete(part.artefact)
    return cancelled


def _no_part(part_id: str) -> ApiError:
    return ApiError(404, f"No such Part object: {shown(part_id)}", param="part_ids", code="part_not_found")
