"""What a job measured at each step, and what it answered on the way: live while it runs, and kept afterwards."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response

from luthier.jobs.records import Identity, Job, JobEvent
from luthier.jobs.store_curves import Curve, thinned
from luthier.server import store_call
from luthier.server.auth import Caller
from luthier.server.openai.answers import ERRORS, After, Id, PageShape, Shape, json_response, list_of
from luthier.server.openai.fine_tuning import after_of, find_training
from luthier.server.state import AppState, State

router = APIRouter(prefix="/luthier/v1", tags=["Jobs"], responses=ERRORS)

STEP_COLUMNS = (
    "step", "created_at", "train_loss", "train_mean_token_accuracy", "learning_rate", "grad_norm", "rows_per_second",
    "tokens_per_second",
)  # fmt: skip
EVALUATION_COLUMNS = (
    "step", "created_at", "train_loss", "valid_loss", "valid_metric", "valid_mean_token_accuracy",
)  # fmt: skip

_MOST_ORIGINS = 10

Column = list[float | None]


class StepColumns(Shape):
    """One entry for each point, oldest first; null where a step did not measure it."""

    step: Column
    created_at: Column
    train_loss: Column
    train_mean_token_accuracy: Column
    learning_rate: Column
    grad_norm: Column
    rows_per_second: Column
    tokens_per_second: Column


class EvaluationColumns(Shape):
    """The same, of evaluations."""

    step: Column
    created_at: Column
    train_loss: Column
    valid_loss: Column
    valid_metric: Column
    valid_mean_token_accuracy: Column


class JobMetrics(Shape):
    """The curves of a job. `measured` steps were measured since `after`, of which `steps` holds some: of each stretch
    the lowest and the highest loss. `last` is the `after` of the next call, which then brings only what is new."""

    object: str
    job_id: str
    status: str
    step: int
    total_steps: int | None
    estimated_finish: int | None
    metric_name: str | None
    measured: int
    last: int
    steps: StepColumns
    evaluations: EvaluationColumns


class Sample(Shape):
    """A fixed question with what the model answered."""

    prompt: str
    reference: str
    output: str
    finish_reason: str


class SampleSet(Shape):
    """The answers of one evaluation; step 0 is the model before training."""

    id: str
    step: int
    created_at: int
    samples: list[Sample]


class SampleList(PageShape):
    data: list[SampleSet]


@router.get("/jobs/{job_id}/metrics", operation_id="getJobMetrics", response_model=JobMetrics)
async def job_metrics(
    job_id: Id,
    state: State,
    caller: Caller,
    after: Annotated[int, Query(ge=0, le=2**53, description="Only what came after: `last` of the call before.")] = 0,
    points: Annotated[int, Query(ge=2, le=5000, description="At most so many points of steps.")] = 1000,
) -> Response:
    """The curves, as columns. The same numbers come one by one with the job's events (`stream=true`)."""
    return json_response(await store_call.run(_metrics, state, caller, job_id, after, points))


@router.get("/jobs/{job_id}/samples", operation_id="listJobSamples", response_model=SampleList)
async def job_samples(
    job_id: Id, state: State, caller: Caller, after: After = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 100,
) -> Response:  # fmt: skip
    """What the model answered to the same few questions at each evaluation, oldest first."""
    await store_call.run(find_training, state, caller, job_id)
    read = state.store.curves.samples
    page = await after_of(after, "sample", read, caller.project_id, job_id, after, limit)
    return json_response(list_of([_sample(event) for event in page.items], page.has_more))


def _metrics(state: AppState, caller: Identity, job_id: str, after: int, points: int) -> dict[str, Any]:
    job = find_training(state, caller, job_id)
    curve = state.store.curves.curve(caller.project_id, job.id, after=after, most=points)
    if not after:
        curve = _with_origins(state, caller, job, curve, points)
    return {"object": "job.metrics", "job_id": job.id, **_place(job), **_columns(curve)}


def _with_origins(state: AppState, caller: Identity, job: Job, curve: Curve, points: int) -> Curve:
    """The curve with that of the job which it goes on from in front of it, where the steps are counted on."""
    for _ in range(_MOST_ORIGINS):
        origin = job.result.get("origin") or {}
        if origin.get("continues") != "state":
            break
        job = find_training(state, caller, origin["job"])
        before = state.store.curves.curve(caller.project_id, job.id, most=points)
        curve = replace(
            curve, steps=[*before.steps, *curve.steps], evaluations=[*before.evaluations, *curve.evaluations],
            measured=before.measured + curve.measured,
        )  # fmt: skip
    return replace(curve, steps=thinned(curve.steps, points))


def _place(job: Job) -> dict[str, Any]:
    return {
        "status": job.status,
        "step": job.step,
        "total_steps": job.total_steps,
        "estimated_finish": job.estimated_finish if job.status == "running" else None,
    }


def _columns(curve: Curve) -> dict[str, Any]:
    names = [point["valid_metric_name"] for point in curve.evaluations if "valid_metric_name" in point]
    return {
        "metric_name": names[-1] if names else None,
        "measured": curve.measured,
        "last": curve.last,
        "steps": {name: [point.get(name) for point in curve.steps] for name in STEP_COLUMNS},
        "evaluations": {name: [point.get(name) for point in curve.evaluations] for name in EVALUATION_COLUMNS},
    }


def _sample(event: JobEvent) -> dict[str, Any]:
    data = event.data
    return {"id": event.id, "step": data["step"], "created_at": event.created_at, "samples": data["samples"]}
