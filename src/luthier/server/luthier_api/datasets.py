"""Data sets: a name for versions of a file, which are looked at, checked and mended without leaving the server."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response

from luthier.jobs.errors import NotFound
from luthier.jobs.ids import new_id
from luthier.jobs.page_records import Dataset, DatasetVersion
from luthier.jobs.records import Identity
from luthier.server import store_call
from luthier.server.auth import Caller
from luthier.server.dataset_checks import check_name
from luthier.server.dataset_sources import Brought, bring_example, bring_path, bring_upload, bring_url, view_name
from luthier.server.dataset_views import make_view, open_view
from luthier.server.errors import ApiError
from luthier.server.luthier_api.dataset_shapes import (
    DatasetDeleted,
    DatasetId,
    DatasetList,
    DatasetObject,
    DatasetRequest,
    RenameRequest,
    RowAfter,
    RowLimit,
    RowList,
    UsedVersionObject,
    VersionList,
    VersionNumber,
    Wanted,
    dataset_json,
    version_json,
)
from luthier.server.openai.answers import ERRORS, After, check_id, failure, json_response, list_of, now
from luthier.server.state import AppState, State

router = APIRouter(prefix="/luthier/v1/datasets", tags=["Data"], responses=ERRORS)
SEARCH_SECONDS = 0.5
_SOURCES = {"file_id": bring_upload, "path": bring_path, "url": bring_url, "example": bring_example}
_CREATED = failure(409, "The name is taken.") | failure(413, "The file is too large.") | failure(415, "An archive.")


@router.post("", operation_id="createDataset", response_model=DatasetObject, responses=_CREATED)
async def create_dataset(body: DatasetRequest, state: State, caller: Caller) -> Response:
    """Make a data set. Its file is read whole, so that what is no data is told at once."""
    given = [name for name in _SOURCES if getattr(body, name) is not None]
    if len(given) != 1:
        raise ApiError(400, "Give one of file_id, path, url and example.", param=given[1] if given else "file_id",
                       code="one_source")  # fmt: skip
    if body.name is not None and await store_call.run(state.store.datasets.named, caller.project_id, body.name):
        raise ApiError(409, f"There is a data set {body.name!r} already.", param="name", code="dataset_exists")
    brought = await _SOURCES[given[0]](state, caller, getattr(body, given[0]))
    try:
        facts = await make_view(state, brought.file, given[0])
        dataset, version = await store_call.run(_record, state, caller, body.name, brought, facts)
    except BaseException:
        brought.drop(state)
        raise
    return json_response(dataset_json(dataset, version))


def _record(
    state: AppState, caller: Identity, name: str | None, brought: Brought, facts: dict[str, Any]
) -> tuple[Dataset, DatasetVersion]:
    store, project, at = state.store.datasets, caller.project_id, now()
    plain = "".join(letter for letter in brought.name if letter.isprintable()).strip()[:90] or "data"
    called, number = name or plain, 1
    while name is None and store.named(project, called):
        number += 1
        called = f"{plain} {number}"
    dataset = Dataset(new_id("ds_"), project, called, 1, at)
    version = DatasetVersion(
        dataset.id, 1, brought.file.id, brought.test.id if brought.test else None, facts["format"], facts["task"],
        facts["rows"], brought.file.bytes, brought.file.sha256, facts["columns"], brought.origin, at,
    )  # fmt: skip
    store.create(dataset, version, brought.new, state.settings.max_project_bytes)
    return dataset, version


@router.get("", operation_id="listDatasets", response_model=DatasetList)
async def list_datasets(
    state: State, caller: Caller, after: After = None, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> Response:
    """The project's data sets, newest first."""
    missing = ApiError(404, "There is no such data set.", param="after", code="not_found")
    if after is not None:
        check_id(after, missing)
    try:
        page = await store_call.run(state.store.datasets.list, caller.project_id, after, limit)
    except NotFound:
        raise missing from None
    return json_response(list_of([dataset_json(*pair) for pair in page.items], page.has_more))


@router.get("/{dataset_id}", operation_id="getDataset", response_model=DatasetObject)
async def get_dataset(dataset_id: DatasetId, state: State, caller: Caller) -> Response:
    """One data set."""
    return json_response(await store_call.run(_shown, state, caller, dataset_id))


@router.post("/{dataset_id}", operation_id="renameDataset", response_model=DatasetObject,
             responses=failure(409, "The name is taken."))  # fmt: skip
async def rename_dataset(dataset_id: DatasetId, body: RenameRequest, state: State, caller: Caller) -> Response:
    """Give it another name."""
    await store_call.run(state.store.datasets.rename, caller.project_id, dataset_id, body.name)
    return json_response(await store_call.run(_shown, state, caller, dataset_id))


def _shown(state: AppState, caller: Identity, dataset_id: str) -> dict[str, Any]:
    dataset = state.store.datasets.get(caller.project_id, dataset_id)
    return dataset_json(dataset, state.store.datasets.version(caller.project_id, dataset_id, dataset.latest))


@router.delete("/{dataset_id}", operation_id="deleteDataset", response_model=DatasetDeleted,
               responses=failure(409, "A job needs it."))  # fmt: skip
async def delete_dataset(dataset_id: DatasetId, state: State, caller: Caller) -> Response:
    """Delete a data set with all versions and their files, but those that another data set holds."""

    def delete() -> None:
        for file in state.store.datasets.delete(caller.project_id, dataset_id):
            state.artefacts.delete_folder(view_name(file.id))
            state.artefacts.delete_folder(check_name(file.id))
            state.artefacts.delete(file.artefact)

    await store_call.run(delete)
    return json_response({"id": dataset_id, "object": "dataset.deleted", "deleted": True})


@router.get("/{dataset_id}/versions", operation_id="listDatasetVersions", response_model=VersionList)
async def list_versions(
    dataset_id: DatasetId, state: State, caller: Caller,
    before: Annotated[int | None, Query(ge=1, le=1_000_000)] = None,
    limit: Annotated[int, Query(ge=1, le=50)] = 20,
) -> Response:  # fmt: skip
    """The versions, newest first, each with the jobs that used it."""

    def look() -> dict[str, Any]:
        page = state.store.datasets.versions(caller.project_id, dataset_id, before, limit)
        found = [_used(state, caller, version) for version in page.items]
        return {"object": "list", "data": found, "has_more": page.has_more,
                "next_before": page.items[-1].version if page.has_more else None}  # fmt: skip

    return json_response(await store_call.run(look))


@router.get("/{dataset_id}/versions/{version}", operation_id="getDatasetVersion", response_model=UsedVersionObject)
async def get_version(dataset_id: DatasetId, version: VersionNumber, state: State, caller: Caller) -> Response:
    """One version, with the jobs that used it."""
    found = await store_call.run(state.store.datasets.version, caller.project_id, dataset_id, version)
    return json_response(await store_call.run(_used, state, caller, found))


def _used(state: AppState, caller: Identity, version: DatasetVersion) -> dict[str, Any]:
    used = state.store.datasets.used_by(caller.project_id, version.file_id)
    return {**version_json(version), "used_by": used.items, "used_by_more": used.has_more}


@router.get("/{dataset_id}/versions/{version}/rows", operation_id="listDatasetRows", response_model=RowList)
async def list_rows(
    dataset_id: DatasetId, version: VersionNumber, state: State, caller: Caller, after: RowAfter = 0,
    limit: RowLimit = 50, q: Wanted = None,
) -> Response:  # fmt: skip
    """A page of rows; with `q`, of those that hold a text, whatever the case."""
    found = await store_call.run(state.store.datasets.version, caller.project_id, dataset_id, version)
    view = await open_view(state, caller, found)
    if q is None:
        rows, last = await store_call.run(view.page, after, limit)
    else:
        rows, last = await store_call.run(view.search, q, after, limit, SEARCH_SECONDS)
    more = last < view.count
    return json_response({
        "object": "list", "data": rows, "total": view.count, "has_more": more, "next_after": last if more else None,
        "searched": min(last, view.count),
    })  # fmt: skip
