"""Where a tuned model comes from and where it is used: data, run, model, endpoints."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field

from luthier.core.recipe import SOURCES
from luthier.jobs.errors import NotFound
from luthier.jobs.recipes import is_file_id
from luthier.jobs.records import Identity, Job
from luthier.server import store_call
from luthier.server.auth import Caller
from luthier.server.luthier_api.exports import ModelPath
from luthier.server.names import model_not_found
from luthier.server.openai.answers import ERRORS, Shape, json_response
from luthier.server.openai.models import find_tuned
from luthier.server.state import AppState, State

router = APIRouter(prefix="/luthier/v1/models", tags=["Models"], responses=ERRORS)
_DEEPEST = 50


class LineageData(Shape):
    """A file that the run read, and the data set's version that it is. `filename` is null where it was deleted."""

    role: Literal["train", "validation", "test"]
    file_id: str
    filename: str | None
    dataset: str | None
    dataset_name: str | None
    version: int | None
    rows: int | None


class LineageRun(Shape):
    """The job that made the model."""

    id: str
    status: str
    created_at: int
    finished_at: int | None
    metrics: dict[str, float | None]


class LineageChild(Shape):
    """A job that goes on from the model."""

    id: str
    status: str
    fine_tuned_model: str | None


class LineageEndpoint(Shape):
    """An endpoint that is made of the model."""

    id: str
    name: str
    state: Literal["running", "stopped"]


class Lineage(Shape):
    """`parents`: the tuned models that it goes on from, the nearest first; `checkpoints`: of the same run."""

    object: Literal["model.lineage"]
    model: str
    base_model: str
    task: str
    method: str
    step: int | None
    created_at: int
    data: list[LineageData]
    run: LineageRun
    parents: Annotated[list[str], Field(max_length=_DEEPEST)]
    checkpoints: list[str]
    children: Annotated[list[LineageChild], Field(max_length=100)]
    endpoints: list[LineageEndpoint]


@router.get("/{model:path}/lineage", operation_id="getModelLineage", response_model=Lineage)
async def get_lineage(model: ModelPath, state: State, caller: Caller) -> Response:
    """The way from the data to the endpoints of a tuned model of the project."""
    return json_response(await store_call.run(_lineage, state, caller, model))


def _lineage(state: AppState, caller: Identity, name: str) -> dict[str, Any]:
    store, project = state.store, caller.project_id
    record = find_tuned(state, caller, name)
    if record.project_id != project:
        raise model_not_found(name)  # where it comes from is its own project's matter
    job = store.jobs.get(project, record.job_id)
    siblings = [one for one in store.models.list(project) if one.job_id == job.id and one.name != name]
    metrics = job.result.get("metrics")
    return {
        "object": "model.lineage", "model": name, "base_model": record.base_model, "task": record.task,
        "method": record.method, "step": record.step, "created_at": record.created_at,
        "data": [one for role in SOURCES for one in _data(state, project, job, role)],
        "run": {
            "id": job.id, "status": job.status, "created_at": job.created_at, "finished_at": job.finished_at,
            "metrics": metrics if isinstance(metrics, dict) else {},
        },
        "parents": _parents(state, project, job),
        "checkpoints": [one.name for one in siblings],
        "children": list(store.models.descendants(project, name)),
        "endpoints": [
            {"id": one.id, "name": one.name, "state": one.state}
            for one in store.endpoints.list(project) if one.model == name
        ],
    }  # fmt: skip


def _data(state: AppState, project: str, job: Job, role: str) -> list[dict[str, Any]]:
    data = job.recipe.get("data")
    source = data.get(role) if isinstance(data, dict) else data if role == "train" else None
    found = []
    for file_id in source if isinstance(source, list) else [source]:
        if not isinstance(file_id, str) or not is_file_id(file_id):
            continue
        try:
            filename = state.store.files.get(project, file_id).filename
        except NotFound:
            filename = None
        versions = state.store.datasets.of_file(project, file_id)
        dataset, version = versions[0] if versions else (None, None)
        rows = version.rows if version is not None and version.file_id == file_id else None
        found.append({
            "role": role, "file_id": file_id, "filename": filename, "dataset": dataset.id if dataset else None,
            "dataset_name": dataset.name if dataset else None, "version": version.version if version else None,
            "rows": rows,
        })  # fmt: skip
    return found


def _parents(state: AppState, project: str, job: Job) -> list[str]:
    """The chain of tuned models before this one, as far as they are still there."""
    found: list[str] = []
    name = job.parent
    while name is not None and name not in found and len(found) < _DEEPEST:
        found.append(name)
        try:
            name = state.store.jobs.get(project, state.store.models.get(project, name).job_id).parent
        except NotFound:
            break
    return found
