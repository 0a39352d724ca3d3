"""Fine-tuning jobs: made, listed, looked at, cancelled, paused, resumed, and their checkpoints."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response

from luthier.core import clock
from luthier.jobs.errors import Conflict, NotFound
from luthier.jobs.records import TRAININGS, Identity, Job, JobKind, NewEvent, Page
from luthier.server import store_call
from luthier.server.auth import Caller
from luthier.server.errors import ApiError
from luthier.server.openai.answers import ERRORS, After, Id, check_id, failure, json_response, list_of, shown
from luthier.server.openai.job_making import make_openai_job, submit
from luthier.server.openai.job_requests import JobRequest
from luthier.server.openai.job_shapes import (
    CheckpointList,
    FineTuningJob,
    JobBytes,
    JobList,
    checkpoint_json,
    job_json,
)
from luthier.server.openai.job_watch import JobWatch
from luthier.server.state import AppState, State

router = APIRouter(prefix="/v1", tags=["Fine-tuning"], responses=ERRORS)

SETTLE_SECONDS = 5.0
"""How long an answer waits for a running job to stop, so that it can say so as OpenAI's does."""
LONGEST_PAGE = 100
_METADATA = re.compile(r"metadata\[([^\]]{1,64})\]")
_BYTES = "openai.job_bytes"

Becomes = Literal["cancelled", "paused", ""]
Item = TypeVar("Item")
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", max_length=255, description="The same key makes the same job, once for good.",
        json_schema_extra={"pattern": "^[!-~]{1,255}$"},
    ),
]
Limit = Annotated[int, Query(ge=1, le=LONGEST_PAGE)]


@router.post("/fine_tuning/jobs", response_model=FineTuningJob, responses=failure(429, "Too many jobs wait."))
async def create_job(
    body: JobRequest, state: State, caller: Caller, idempotency_key: IdempotencyKey = None
) -> Response:
    """Make a job. Its files are validated next, and what is wrong with them is told in the job."""

    def make() -> Job:
        draft = make_openai_job(state, caller, body)
        return submit(state, caller, draft, body.model_dump(mode="json"), idempotency_key)

    return job_response(state, await store_call.run(make))


@router.get("/fine_tuning/jobs", response_model=JobList)
async def list_jobs(request: Request, state: State, caller: Caller, after: After = None, limit: Limit = 20) -> Response:
    """The project's jobs, newest first. `metadata[k]=v` filters; `metadata=null` finds those without."""
    page = await page_of_jobs(request, state, caller, after, limit)
    organisation = state.settings.organisation
    return json_response(list_of([job_json(job, organisation) for job in page.items], page.has_more))


@router.get("/fine_tuning/jobs/{job_id}", response_model=FineTuningJob)
async def get_job(job_id: Id, state: State, caller: Caller) -> Response:
    """One job. Asking often is fine: what has not changed is answered from memory."""
    job = state.store.jobs.known(caller.project_id, job_id)
    if job is None or job.kind not in TRAININGS:
        job = await store_call.run(find_training, state, caller, job_id)
    return job_response(state, job)


@router.post("/fine_tuning/jobs/{job_id}/cancel", response_model=FineTuningJob)
async def cancel_job(job_id: Id, state: State, caller: Caller) -> Response:
    """End a job; it gives no model."""
    return await _change(state, caller, job_id, "cancelled", "Fine-tuning job cancelled")


@router.post("/fine_tuning/jobs/{job_id}/pause", response_model=FineTuningJob)
async def pause_job(job_id: Id, state: State, caller: Caller) -> Response:
    """Let a job stop after a checkpoint, until it is resumed."""
    return await _change(state, caller, job_id, "paused", "Fine-tuning job paused")


@router.post("/fine_tuning/jobs/{job_id}/resume", response_model=FineTuningJob)
async def resume_job(job_id: Id, state: State, caller: Caller) -> Response:
    """Let a paused job go on, from its last checkpoint."""
    return await _change(state, caller, job_id, "", "Fine-tuning job resumed")


@router.get("/fine_tuning/jobs/{job_id}/checkpoints", response_model=CheckpointList)
async def list_checkpoints(
    job_id: Id, state: State, caller: Caller, after: After = None, limit: Limit = 10
) -> Response:
    """The checkpoints of a job, newest first; each can be called by its name."""
    await store_call.run(find_training, state, caller, job_id)
    page = await after_of(after, "checkpoint", state.store.jobs.checkpoints, caller.project_id, job_id, after, limit)
    return json_response(list_of([checkpoint_json(item) for item in page.items], page.has_more))


def job_response(state: AppState, job: Job) -> Response:
    """A job as an answer."""
    known = state.extras.get(_BYTES)
    if not isinstance(known, JobBytes):
        known = state.extras[_BYTES] = JobBytes(state.settings.organisation)
    return Response(known.of(job), media_type="application/json")


def job_missing(job_id: str) -> ApiError:
    """The same answer for every job that this caller may not see."""
    return ApiError(
        404, f"Could not find fine tune: {shown(job_id)}", param="fine_tuning_job_id", code="fine_tune_not_found"
    )


def find_training(state: AppState, caller: Identity, job_id: str) -> Job:
    """A fine-tuning job of the caller's project; blocks."""
    job = find_job(state, caller, job_id)
    if job.kind not in TRAININGS:
        raise job_missing(job_id)
    return job


def find_job(state: AppState, caller: Identity, job_id: str) -> Job:
    """A job of the caller's project, whatever its kind; blocks."""
    missing = job_missing(job_id)
    try:
        return state.store.jobs.get(caller.project_id, check_id(job_id, missing))
    except NotFound:
        raise missing from None


async def after_of(after: str | None, what: str, read: Callable[..., Page[Item]], *args: Any) -> Page[Item]:
    """A page of a list, read in a thread; 404 for a cursor that is no item of it."""
    missing = ApiError(404, f"There is no {what} '{shown(after or '')}' here.", param="after", code="cursor_not_found")
    if after is not None:
        check_id(after, missing)
    try:
        return await store_call.run(read, *args)
    except NotFound:
        raise missing from None


async def page_of_jobs(
    request: Request, state: AppState, caller: Identity, after: str | None, limit: int,
    kinds: Sequence[JobKind] = TRAININGS,
) -> Page[Job]:  # fmt: skip
    """The page of jobs of these kinds that a query asks for."""
    metadata = metadata_filter(request)
    read = state.store.jobs.list
    return await after_of(after, "job", read, caller.project_id, after, limit, metadata, "desc", kinds)


def metadata_filter(request: Request) -> dict[str, str] | None:
    """``metadata[k]=v``, several of them for all of them; ``{}`` for ``metadata=null``; None without a filter."""
    found: dict[str, str] = {}
    null = False
    for name, value in request.query_params.multi_items():
        if name == "metadata":
            if value != "null":
                raise ApiError(400, "Write metadata[key]=value, or metadata=null.", param="metadata",
                               code="invalid_value")  # fmt: skip
            null = True
        elif name.startswith("metadata["):
            match = _METADATA.fullmatch(name)
            if match is None or len(value) > 512 or "\0" in value + name or match[1] in found or len(found) >= 16:
                raise ApiError(400, "The filter is at most 16 of metadata[key]=value, with up to 64 and 512 "
                               "characters.", param="metadata", code="invalid_value")  # fmt: skip
            found[match[1]] = value
    if null and found:
        raise ApiError(400, "metadata=null does not go with metadata[key].", param="metadata", code="invalid_value")
    return {} if null else found or None


async def _change(state: AppState, caller: Identity, job_id: str, becomes: Becomes, message: str) -> Response:
    await store_call.run(find_training, state, caller, job_id)
    try:
        return job_response(state, await change_job(state, caller, job_id, becomes, message))
    except Conflict as error:
        raise ApiError(400, error.message, param="fine_tuning_job_id", code="job_status") from None


async def change_job(state: AppState, caller: Identity, job_id: str, becomes: Becomes, message: str) -> Job:
    """Ask something of a job, and wait a little for it to happen. Asked again, nothing more happens.

    Args:
        becomes: cancelled or paused; "" lets a paused job go on.

    Raises:
        Conflict: its status does not allow it.
    """
    store = state.store.jobs
    changes: dict[str, Callable[..., Job]] = {"cancelled": store.cancel, "paused": store.pause, "": store.resume}
    job = await store_call.run(find_job, state, caller, job_id)
    if not (job.status == becomes or (not becomes and job.status != "paused" and not job.terminal)):
        with JobWatch.of(state).following(job_id) as flag:
            events = (NewEvent(f"{becomes or 'resumed'}:{job.version}", message),)
            job = await store_call.run(changes[becomes], caller.project_id, job_id, events)
            end = clock.monotonic() + SETTLE_SECONDS
            while job.wanted is not None and job.status == "running" and (left := end - clock.monotonic()) > 0:
                flag.lower()
                job = await store_call.run(find_job, state, caller, job_id)
                if job.status == "running" and job.wanted is not None:
                    await flag.wait(min(left, 1.0))
    return job
