"""Projects and keys, for admin keys. A key never grants more than itself: it makes keys of its own project only,
unless it is of the first project, whose admins look after the whole server."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from luthier.core import clock
from luthier.jobs.records import Identity, Key, Project
from luthier.server import store_call
from luthier.server.auth import AdminCaller
from luthier.server.errors import ApiError
from luthier.server.openai.body import Body
from luthier.server.state import AppState, State

LONGEST_LIFE = 10 * 366 * 86400
"""Seconds; a key that lives longer is one that does not expire."""
_MOST_LISTED = 10_000

router = APIRouter(prefix="/luthier/v1", tags=["keys"])
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")]
Id = Annotated[str, Path(max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]


class KeyRequest(Body):
    """What a new key shall be."""

    name: Name = "unnamed"
    role: Literal["admin", "write", "read"] = "write"
    project: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9_-]+$")] | None = None
    expires_in: Annotated[int, Field(ge=1, le=LONGEST_LIFE)] | None = None


class ProjectRequest(Body):
    """What a new project shall be called."""

    name: Name


class KeyObject(BaseModel):
    """A key without its secret."""

    object: Literal["key"] = "key"
    id: str
    project: str
    name: str
    role: Literal["admin", "write", "read"]
    created_at: int
    expires_at: int | None
    revoked_at: int | None


class NewKeyObject(KeyObject):
    """A key that was made just now; its secret is shown this once."""

    secret: str


class KeyList(BaseModel):
    """Keys, oldest first."""

    object: Literal["list"] = "list"
    data: Annotated[list[KeyObject], Field(max_length=_MOST_LISTED)]


class ProjectObject(BaseModel):
    """A project."""

    object: Literal["project"] = "project"
    id: str
    name: str
    created_at: int


class ProjectList(BaseModel):
    """Projects, oldest first."""

    object: Literal["list"] = "list"
    data: Annotated[list[ProjectObject], Field(max_length=_MOST_LISTED)]


@router.post("/keys")
async def create_key(body: KeyRequest, caller: AdminCaller, state: State) -> NewKeyObject:
    """Make a key. Its secret is in this answer and nowhere else."""
    project = body.project or caller.project_id
    if project != caller.project_id:
        await _need_operator(state, caller)
    expires = None if body.expires_in is None else int(clock.now().timestamp()) + body.expires_in
    key, secret = await store_call.run(state.store.keys.create, project, body.name, body.role, expires)
    return NewKeyObject(**key_fields(key), secret=secret)


@router.get("/keys")
async def list_keys(caller: AdminCaller, state: State) -> KeyList:
    """The keys that the caller may look after, the revoked too."""
    mine = None if await _is_operator(state, caller) else caller.project_id
    keys = await store_call.run(state.store.keys.list, mine)
    return KeyList(data=[KeyObject(**key_fields(key)) for key in keys[-_MOST_LISTED:]])


@router.delete("/keys/{key_id}")
async def revoke_key(key_id: Id, caller: AdminCaller, state: State) -> KeyObject:
    """End a key. It is refused from the next request on."""
    project = caller.project_id
    if await _is_operator(state, caller):
        keys = await store_call.run(state.store.keys.list)
        project = next((key.project_id for key in keys if key.id == key_id), project)
    return KeyObject(**key_fields(await store_call.run(state.store.keys.revoke, project, key_id)))


@router.post("/projects")
async def create_project(body: ProjectRequest, caller: AdminCaller, state: State) -> ProjectObject:
    """Make a project: its files, jobs and models are seen by its own keys only."""
    await _need_operator(state, caller)
    return _project(await store_call.run(state.store.projects.create, body.name))


@router.get("/projects")
async def list_projects(caller: AdminCaller, state: State) -> ProjectList:
    """The projects that the caller may look after."""
    if await _is_operator(state, caller):
        found = await store_call.run(state.store.projects.list)
    else:
        found = [await store_call.run(state.store.projects.get, caller.project_id)]
    return ProjectList(data=[_project(project) for project in found[-_MOST_LISTED:]])


async def _is_operator(state: AppState, caller: Identity) -> bool:
    first = await store_call.run(state.store.projects.default)
    return caller.project_id == first.id


async def _need_operator(state: AppState, caller: Identity) -> None:
    if not await _is_operator(state, caller):
        raise ApiError(403, "Only admin keys of the first project look after other projects.", code="operator_only")


def key_fields(key: Key) -> dict[str, Any]:
    """A `KeyObject` as JSON, for those who ask the store themselves too."""
    return {
        "object": "key",
        "id": key.id,
        "project": key.project_id,
        "name": key.name,
        "role": key.role,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }


def _project(project: Project) -> ProjectObject:
    return ProjectObject(id=project.id, name=project.name, created_at=project.created_at)
