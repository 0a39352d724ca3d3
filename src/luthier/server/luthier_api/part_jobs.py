"""What searches, decisions and automatic runs have in common: jobs whose parts are told while they run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from fastapi import Request
from fastapi.responses import Response

from luthier.core.errors import StorageError
from luthier.jobs.records import Identity, Job, JobKind, kind_words
from luthier.server import store_call
from luthier.server.errors import ApiError
from luthier.server.headers import download_headers
from luthier.server.openai.answers import PageShape, Shape, json_response, list_of, shown
from luthier.server.openai.fine_tuning import Becomes, change_job, find_job, page_of_jobs
from luthier.server.openai.job_shapes import JobErrorShape
from luthier.server.state import AppState

Status = Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]
Told = Callable[[AppState, Job], dict[str, Any]]


class PartJob(Shape):
    """A search, a decision or an automatic run. `done` of `total` parts (trials, arms, candidates so far) have been
    measured; its events are those of GET /v1/fine_tuning/jobs/{id}/events."""

    id: str
    status: Status
    wanted: Literal["cancel", "pause"] | None
    created_at: int
    started_at: int | None
    finished_at: int | None
    estimated_finish: int | None
    error: JobErrorShape | None
    task: str
    model: str
    suffix: str | None
    metadata: dict[str, str] | None
    training_file: str
    done: int
    total: int | None
    fine_tuned_model: str | None
    metrics: dict[str, float | None] | None
    verdict: str | None
    warnings: list[str]


class PartJobPage(PageShape):
    data: list[dict[str, Any]]


def part_job_json(job: Job) -> dict[str, Any]:
    """The fields of `PartJob`."""
    error = job.error or None
    return {
        "id": job.id,
        "object": job.kind,
        "status": job.status,
        "wanted": job.wanted,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "estimated_finish": job.estimated_finish if job.status == "running" else None,
        "error": error and {"code": str(error.get("code") or "error"), "message": str(error.get("message") or ""),
                            "param": error.get("param")},
        "task": job.task,
        "model": job.model,
        "suffix": job.suffix,
        "metadata": job.metadata or None,
        "training_file": job.training_file,
        "done": job.step,
        "total": job.total_steps,
        "fine_tuned_model": job.fine_tuned_model,
        "metrics": job.result.get("metrics") or None,
        "verdict": job.result.get("verdict") or None,
        "warnings": [str(one) for one in job.result.get("warnings") or []],
    }  # fmt: skip


def find_part_job(state: AppState, caller: Identity, job_id: str, kind: JobKind) -> Job:
    """A job of the caller's project and of this kind; blocks. Raises 404."""
    words = f"There is no {kind_words(kind)} '{shown(job_id)}'."
    missing = ApiError(404, words, param=f"{kind}_id", code=f"{kind}_not_found")
    try:
        job = find_job(state, caller, job_id)
    except ApiError:
        raise missing from None
    if job.kind != kind:
        raise missing
    return job


async def listed(
    request: Request, state: AppState, caller: Identity, after: str | None, limit: int, kind: JobKind, told: Told
) -> Response:
    """A page of jobs of this kind, newest first."""
    page = await page_of_jobs(request, state, caller, after, limit, (kind,))
    return json_response(list_of([told(state, job) for job in page.items], page.has_more))


async def changed(
    state: AppState, caller: Identity, job_id: str, kind: JobKind, becomes: Becomes, told: Told
) -> Response:
    """Cancel, pause or resume. Raises `Conflict` (409) where the status does not allow it."""
    before = await store_call.run(find_part_job, state, caller, job_id, kind)
    words = f"The {kind_words(kind)} was {becomes or 'resumed'}"
    if becomes == "cancelled" and before.fine_tuned_model is not None:  # said where it waits; else by who runs it
        words += f"; its best model so far is kept: {before.fine_tuned_model}"
    job = await change_job(state, caller, job_id, becomes, words)
    return json_response(await store_call.run(told, state, job))


def kept_file(state: AppState, job: Job, name: str) -> Path | None:
    """A file of what the job found; None as long as there is none; blocks."""
    place = job.result.get("folder")
    if not isinstance(place, str):
        return None
    try:
        path = state.artefacts.folder(place) / name
    except StorageError as error:
        if error.code != "artefact_missing":
            raise
        return None
    return path if path.is_file() else None


def kept_json(state: AppState, job: Job, name: str) -> dict[str, Any] | None:
    """The same, read."""
    path = kept_file(state, job, name)
    if path is None:
        return None
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


def page_response(state: AppState, job: Job, name: str) -> Response:
    """The page as a download: it shows rows of the data, so it is never a page of this server. Raises 404; blocks."""
    path = kept_file(state, job, name)
    if path is None:
        words = f"The {kind_words(job.kind)} {job.id} has no page: it is {job.status}."
        raise ApiError(404, words, param=f"{job.kind}_id", code="no_page")
    return Response(path.read_bytes(), headers=download_headers(f"{job.id}.html"))
