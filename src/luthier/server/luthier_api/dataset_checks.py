"""The check of a data set's version, as `luthier check` makes it, kept for the next who asks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response

from luthier.server import store_call
from luthier.server.auth import Caller
from luthier.server.dataset_checks import CheckOptions, check_of, checking, read_report
from luthier.server.errors import ApiError
from luthier.server.luthier_api.dataset_shapes import DatasetId, VersionCheck, VersionNumber
from luthier.server.names import find
from luthier.server.openai.answers import ERRORS, json_response
from luthier.server.state import State

router = APIRouter(prefix="/luthier/v1/datasets", tags=["Data"], responses=ERRORS, lifespan=checking)
Task = Literal["auto", "classify", "regress", "extract", "chat", "complete"]


@router.get(
    "/{dataset_id}/versions/{version}/check", operation_id="checkDatasetVersion", response_model=VersionCheck
)
async def check_version(
    dataset_id: DatasetId, version: VersionNumber, state: State, caller: Caller, task: Task = "auto",
    model: Annotated[str | None, Query(min_length=1, max_length=256)] = None,
    max_length: Annotated[int | None, Query(ge=4, le=1_000_000)] = None,
    wait: Annotated[float, Query(ge=0, le=60, description="Seconds; then the answer is `running`.")] = 20.0,
) -> Response:  # fmt: skip
    """What is wrong with the rows, and how labels and lengths lie. The first to ask begins it; all others share it."""
    found = await store_call.run(state.store.datasets.version, caller.project_id, dataset_id, version)
    base = None if model is None else (await store_call.run(find, state, caller, model)).base.place
    told: dict[str, Any] = {
        "object": "dataset.check", "dataset": dataset_id, "version": version, "status": "running", "report": None,
        "error": None,
    }  # fmt: skip
    try:
        folder = await check_of(state, caller, found, CheckOptions(task, base, max_length), wait)
    except ApiError as error:
        if error.status_code != 400:
            raise
        return json_response(told | {"status": "failed", "error": {"code": error.code, "message": error.message}})
    if folder is not None:
        told |= {"status": "done", "report": await store_call.run(read_report, folder)}
    return json_response(told)
