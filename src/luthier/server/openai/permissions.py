"""Permissions of checkpoints: an admin lets other projects use a tuned model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response
from pydantic import Field

from luthier.jobs.errors import NotFound
from luthier.jobs.records import Identity, Permission
from luthier.server import store_call
from luthier.server.auth import AdminCaller
from luthier.server.errors import ApiError
from luthier.server.names import LONGEST_NAME, model_not_found
from luthier.server.openai.answers import (
    ERRORS,
    LONGEST_ID,
    After,
    Id,
    PageShape,
    Shape,
    check_id,
    json_response,
    list_of,
    shown,
)
from luthier.server.openai.body import Body
from luthier.server.openai.fine_tuning import after_of
from luthier.server.openai.models import find_tuned
from luthier.server.state import AppState, State

router = APIRouter(prefix="/v1", tags=["Fine-tuning"], responses=ERRORS)

PATH = "/fine_tuning/checkpoints/{checkpoint}/permissions"
Checkpoint = Annotated[str, Path(max_length=4 * LONGEST_NAME)]


class PermissionRequest(Body):
    project_ids: list[Annotated[str, Field(min_length=1, max_length=LONGEST_ID)]] = Field(min_length=1, max_length=100)


class PermissionObject(Shape):
    """A project may use a checkpoint."""

    id: str
    object: Literal["checkpoint.permission"]
    created_at: int
    project_id: str


class PermissionList(PageShape):
    data: list[PermissionObject]


class PermissionDeleted(Shape):
    id: str
    object: Literal["checkpoint.permission"]
    deleted: bool


@router.post(PATH, response_model=PermissionList)
async def create_permissions(
    checkpoint: Checkpoint, body: PermissionRequest, state: State, caller: AdminCaller
) -> Response:
    """Let other projects call a checkpoint. Asked again, the same permissions are given."""
    made = await store_call.run(_create, state, caller, checkpoint, body.project_ids)
    return json_response(list_of([_json(permission) for permission in made]))


@router.get(PATH, response_model=PermissionList)
async def list_permissions(
    checkpoint: Checkpoint,
    state: State,
    caller: AdminCaller,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
    order: Literal["ascending", "descending"] = "descending",
    project_id: Annotated[str | None, Query(max_length=LONGEST_ID)] = None,
) -> Response:
    """Who may use a checkpoint."""
    await store_call.run(own, state, caller, checkpoint)
    if project_id is not None:
        check_id(project_id, _no_project(project_id))
    short = "asc" if order == "ascending" else "desc"
    page = await after_of(
        after, "permission", state.store.permissions.list, caller.project_id, checkpoint, after, limit,
        short, project_id,
    )  # fmt: skip
    return json_response(list_of([_json(permission) for permission in page.items], page.has_more))


@router.delete(PATH + "/{permission_id}", response_model=PermissionDeleted)
async def delete_permission(checkpoint: Checkpoint, permission_id: Id, state: State, caller: AdminCaller) -> Response:
    """Take a permission back."""
    await store_call.run(_delete, state, caller, checkpoint, permission_id)
    return json_response({"id": permission_id, "object": "checkpoint.permission", "deleted": True})


def own(state: AppState, caller: Identity, checkpoint: str) -> None:
    """404 unless the caller's project made the checkpoint."""
    if find_tuned(state, caller, checkpoint).project_id != caller.project_id:
        raise model_not_found(checkpoint)


def _create(state: AppState, caller: Identity, checkpoint: str, project_ids: list[str]) -> list[Permission]:
    own(state, caller, checkpoint)
    for project_id in project_ids:
        missing = _no_project(project_id)
        try:
            state.store.projects.get(check_id(project_id, missing))
        except NotFound:
            raise missing from None
    return state.store.permissions.create(caller.project_id, checkpoint, project_ids)


def _delete(state: AppState, caller: Identity, checkpoint: str, permission_id: str) -> None:
    own(state, caller, checkpoint)
    missing = ApiError(404, f"No such permission: {shown(permission_id)}", param="permission_id",
                       code="permission_not_found")  # fmt: skip
    try:
        state.store.permissions.delete(caller.project_id, checkpoint, check_id(permission_id, missing))
    except NotFound:
        raise missing from None


def _no_project(project_id: str) -> ApiError:
    return ApiError(404, f"No such project: {shown(project_id)}", param="project_ids", code="project_not_found")


def _json(permission: Permission) -> dict[str, Any]:
    return {
        "id": permission.id,
        "object": "checkpoint.permission",
        "created_at": permission.created_at,
        "project_id": permission.project_id,
    }
