"""Finished jobs beside each other: metrics, paired tests, what their recipes differ in, and rows they disagree on."""

from __future__ import annotations

import hashlib
import json
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BeforeValidator, Field

from luthier.core import durable
from luthier.core.rundir import read_jsonl
from luthier.jobs.file_names import COMPARISON, DISAGREEMENTS
from luthier.jobs.records import Identity, Job
from luthier.server import helpers, store_call
from luthier.server.auth import Caller
from luthier.server.errors import ApiError
from luthier.server.helpers import Turns
from luthier.server.luthier_api.answers import file_names_of
from luthier.server.openai.answering import unless_gone
from luthier.server.openai.answers import ERRORS, LONGEST_ID, PLAIN_TEXT, Shape, json_response
from luthier.server.openai.body import Body, whole
from luthier.server.openai.fine_tuning import find_job
from luthier.server.state import AppState, State

router = APIRouter(prefix="/luthier/v1", tags=["Jobs"], responses=ERRORS)

MOST_JOBS = 8
LONGEST_SECONDS = 300.0
AT_ONCE, MOST_WAITING = 2, 16
_KEPT_BYTES = 512 * 2**20
"""Of comparisons that were made; a finished job never changes, so they stay right."""
_ABANDONED_SECONDS = 3600.0
_FORM = 1
"""Rises when what a comparison holds changes."""

JobId = Annotated[str, Field(min_length=1, max_length=LONGEST_ID, pattern=PLAIN_TEXT)]


class CompareRequest(Body):
    """Which jobs, and which of the rows on which they disagree: `limit` of them from the place `after` on."""

    jobs: Annotated[list[JobId], Field(min_length=2, max_length=MOST_JOBS)]
    after: Annotated[int, Field(ge=0, le=10**9), BeforeValidator(whole)] = 0
    limit: Annotated[int, Field(ge=0, le=200), BeforeValidator(whole)] = 20


class Value(Shape):
    """A value with its 95 % interval; null where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


class ComparedJob(Shape):
    """One job by its own report: all metrics, on all rows that it was judged on."""

    id: str
    name: str
    task: str
    model: str | None
    method: str | None
    rows: int | None
    evaluated_on: str | None
    primary_metric: str | None
    metrics: dict[str, Value]
    verdict: str
    cost: dict[str, float | None]


class PairTest(Shape):
    """Two jobs on the same rows. A positive difference is in favour of `a`; the p-value is corrected for the number of
    tests (Holm)."""

    a: str
    b: str
    metric: str
    a_value: float | None
    b_value: float | None
    difference: Value
    p_value: float
    test: str
    verdict: str = Field(json_schema_extra={"enum": ["better", "worse", "cannot tell them apart"]})
    sentence: str


class RecipeDifference(Shape):
    """A key of the recipes, with the value of each job in order; null where it has none."""

    key: str
    values: list[Any]


class Disagreements(Shape):
    """Rows that were answered differently; those that only some got right come first. `answers` are in the order of
    the jobs. `next` is the `after` of the next page; null at the end."""

    total: int
    data: list[dict[str, Any]]
    next: int | None


class ComparisonShape(Shape):
    object: str
    jobs: list[ComparedJob]
    shared_rows: int
    metrics: dict[str, dict[str, Value]] = Field(description="Of each job, on the rows that all were judged on.")
    comparisons: list[PairTest]
    recipe: list[RecipeDifference]
    disagreements: Disagreements
    notes: list[str]


@router.post("/compare", operation_id="compareJobs", response_model=ComparisonShape)
async def compare_jobs(body: CompareRequest, request: Request, state: State, caller: Caller) -> Response:
    """Compare two to eight finished jobs. Nothing is trained or answered again."""
    jobs = await store_call.run(_jobs, state, caller, body.jobs)
    place = state.settings.home / "cache" / "compare" / _name(jobs)
    if not await store_call.run((place / COMPARISON).is_file):
        async with Turns.of(state, "luthier_api.compare", AT_ONCE, MOST_WAITING).turn("comparisons"):
            await unless_gone(request, _make(state, jobs, place))
    return json_response(await store_call.run(_told, place, body.after, body.limit))


def _jobs(state: AppState, caller: Identity, ids: list[str]) -> list[Job]:
    if len(set(ids)) < len(ids):
        raise ApiError(400, "A job is named twice; compare different ones.", param="jobs", code="same_job")
    found = []
    for number, job_id in enumerate(ids):
        job = find_job(state, caller, job_id)
        if not isinstance(job.result.get("report"), str):
            why = "is not over yet" if not job.terminal else f"has {job.status} and has no report"
            raise ApiError(
                400, f"The job {job.id} {why}; only finished jobs are compared.", param=f"jobs[{number}]",
                code="job_not_finished",
            )  # fmt: skip
        found.append(job)
    return found


def _name(jobs: list[Job]) -> str:
    told = json.dumps([_FORM, *([job.id, job.finished_at] for job in jobs)])
    return hashlib.sha256(told.encode()).hexdigest()[:32]


async def _make(state: AppState, jobs: list[Job], place: Path) -> None:
    folders = await store_call.run(lambda: [str(state.artefacts.folder(job.result["report"])) for job in jobs])
    request = {
        "out": str(place),
        "sources": await store_call.run(file_names_of, state, jobs[0]),
        "jobs": [
            {"id": job.id, "name": name, "recipe": job.recipe, "folder": folder}
            for job, name, folder in zip(jobs, _names(jobs), folders, strict=True)
        ],
    }
    try:
        answer = await helpers.asked("luthier.jobs.comparing", request, LONGEST_SECONDS)
    except TimeoutError:
        answer = None
    if answer is None:
        raise ApiError(400, "The jobs could not be compared: it took too long, or too much memory. Compare fewer.",
                       param="jobs", code="compare_failed")  # fmt: skip
    await store_call.run(
        lambda: durable.forget_least_used(
            place.parent, keep=place, most_bytes=_KEPT_BYTES, abandoned_seconds=_ABANDONED_SECONDS
        )
    )


def _names(jobs: list[Job]) -> list[str]:
    """What people call the jobs: the suffix, where that is of one job only."""
    suffixes = [job.suffix for job in jobs]
    return [job.suffix if job.suffix and suffixes.count(job.suffix) == 1 else job.id for job in jobs]


def _told(place: Path, after: int, limit: int) -> dict[str, Any]:
    summary = json.loads((place / COMPARISON).read_text(encoding="utf-8"))
    total = summary["disagreements"]
    rows = list(islice(read_jsonl(place / DISAGREEMENTS), after, after + limit))
    further = after + len(rows)
    following = further if rows and further < total else None
    durable.touch(place)
    return {
        "object": "comparison", **summary, "disagreements": {"total": total, "data": rows, "next": following}
    }  # fmt: skip
