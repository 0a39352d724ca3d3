"""The report of a finished job: what the tuned model does better, by numbers or as a page to download."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from luthier.jobs.records import Identity, Job
from luthier.server import store_call
from luthier.server.auth import Caller
from luthier.server.errors import ApiError
from luthier.server.headers import download_headers
from luthier.server.openai.answers import ERRORS, Id
from luthier.server.openai.fine_tuning import find_job
from luthier.server.state import AppState, State

router = APIRouter(prefix="/luthier/v1", tags=["Jobs"], responses=ERRORS)


@router.get("/jobs/{job_id}/report.json", response_model=dict[str, Any])
async def report_json(job_id: Id, state: State, caller: Caller) -> Response:
    """The report as JSON."""
    content = await store_call.run(_content, state, caller, job_id, "report.json")
    return Response(content, media_type="application/json")


@router.get(
    "/jobs/{job_id}/report.html",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}, "description": "One page, always a download."}},
)
async def report_html(job_id: Id, request: Request, state: State, caller: Caller) -> Response:
    """The report as one page. It shows rows of the data, so it is a download and never a page of this server."""
    content = await store_call.run(_content, state, caller, job_id, "report.html")
    return Response(content, headers=download_headers(f"{job_id}-report.html"))


def _content(state: AppState, caller: Identity, job_id: str, name: str) -> bytes:
    job = find_job(state, caller, job_id)
    place = job.result.get("report")
    path = state.artefacts.folder(place) / name if isinstance(place, str) else None
    if path is None or not path.is_file():
        raise ApiError(404, _why(job), param="job_id", code="no_report")
    return path.read_bytes()


def _why(job: Job) -> str:
    if job.terminal:
        return f"The job {job.id} has no report: it is {job.status}."
    return f"The job {job.id} has no report yet: it is {job.status}."
