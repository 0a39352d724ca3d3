"""Decisions between prompt, retrieval, assistant and fine-tuning: the arms side by side, the verdict, each answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from pydantic import Field

from luthier.core.rundir import read_jsonl
from luthier.jobs.file_names import ANSWERS
from luthier.jobs.records import Job
from luthier.server import store_call
from luthier.server.auth import Caller
from luthier.server.errors import ApiError
from luthier.server.luthier_api import part_jobs
from luthier.server.luthier_api.answers import LONGEST_SEARCH, file_names_of
from luthier.server.luthier_api.decision_requests import DecisionRequest, decision_draft
from luthier.server.luthier_api.part_jobs import PartJob
from luthier.server.openai.answers import ERRORS, LONGEST_ID, After, PageShape, Shape, failure, json_response
from luthier.server.openai.fine_tuning import IdempotencyKey, Limit
from luthier.server.openai.job_making import submit
from luthier.server.state import AppState, State

router = APIRouter(prefix="/luthier/v1/decisions", tags=["Decisions"], responses=ERRORS)

REPORT, PAGE = "decision.json", "decision.html"
DecisionId = Annotated[str, Path(max_length=LONGEST_ID)]


class Interval(Shape):
    """A value with its 95 % interval."""

    value: float | None
    low: float | None
    high: float | None


class ArmCost(Shape):
    """Seconds and dollars to build it, dollars for 1,000 requests (null: a price that nobody named), tokens."""

    build_seconds: float
    build: float | None
    per_1000: float | None
    prompt_tokens: int
    completion_tokens: int


class ArmShape(Shape):
    """An arm. `metrics` are on the held-out rows that it answered; `changes` says what happens when knowledge does."""

    name: str
    family: Literal["baseline", "prompt", "retrieval", "assistant", "fine-tuning"]
    detail: str
    state: Literal["measured", "dropped", "failed", "not run"]
    why: str
    rows: int
    metrics: dict[str, Interval]
    cost: ArmCost
    latency_ms: float | None
    changes: dict[str, Any] | None


class VerdictShape(Shape):
    """`arm` is recommended; `ties` cannot be told apart from the best."""

    arm: str | None
    best: str | None
    ties: list[str]
    text: str
    flips: list[str]


class PicturePoint(Shape):
    """An arm in the picture of quality against cost."""

    arm: str
    family: str
    cost: float | None = Field(description="Dollars per 1,000 requests.")
    latency_ms: float | None
    value: float | None
    low: float | None
    high: float | None


class DecisionShape(PartJob):
    """A decision; `arms` are those so far, `verdict_details` and `rows` come with its end."""

    object: Literal["decision"]
    request: dict[str, Any]
    metric: str | None
    arms: list[ArmShape]
    picture: list[PicturePoint]
    verdict_details: VerdictShape | None
    rows: dict[str, int] | None
    prices: dict[str, float | None] | None
    notes: list[str] | None
    seconds: float | None


class DecisionList(PageShape):
    data: list[DecisionShape]


class ArmAnswer(Shape):
    """What an arm answered to a row; `wrong` is 0 where it is right."""

    arm: str
    predicted: Any
    wrong: float
    score: float | None = None


class DecisionRow(Shape):
    """A held-out row; arms that did not come so far are not in `answers`."""

    row: int
    line: int
    source: str
    text: str
    text_pair: str | None = None
    expected: Any
    answers: list[ArmAnswer]


class DecisionAnswers(Shape):
    """`next` is the `after` of the next page; null at the end."""

    object: str
    task: str
    total: int
    data: list[DecisionRow]
    next: int | None


@router.post(
    "", operation_id="createDecision", response_model=DecisionShape, responses=failure(429, "Too many jobs wait.")
)  # fmt: skip
async def create_decision(
    body: DecisionRequest, state: State, caller: Caller, idempotency_key: IdempotencyKey = None
) -> Response:
    """Build and judge prompt, retrieval, assistant and fine-tuning on the same held-out rows, within a budget."""

    def make() -> dict[str, Any]:
        draft = decision_draft(state, caller, body)
        asked = {"decision": body.model_dump(mode="json")}
        return _told(state, submit(state, caller, draft, asked, idempotency_key))

    return json_response(await store_call.run(make))


@router.get("", operation_id="listDecisions", response_model=DecisionList)
async def list_decisions(
    request: Request, state: State, caller: Caller, after: After = None, limit: Limit = 20
) -> Response:
    """The project's decisions, newest first, without their arms."""
    return await part_jobs.listed(request, state, caller, after, limit, "decision", _in_list)


@router.get("/{decision_id}", operation_id="getDecision", response_model=DecisionShape)
async def get_decision(decision_id: DecisionId, state: State, caller: Caller) -> Response:
    """One decision, with its arms so far."""

    def read() -> dict[str, Any]:
        return _told(state, part_jobs.find_part_job(state, caller, decision_id, "decision"))

    return json_response(await store_call.run(read))


@router.get("/{decision_id}/answers", operation_id="listDecisionAnswers", response_model=DecisionAnswers)
async def list_answers(
    decision_id: DecisionId,
    state: State,
    caller: Caller,
    after: Annotated[int, Query(ge=0, le=10**9, description="How many rows to pass over.")] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
    differing: Annotated[bool, Query(description="Only rows that some arms got right and others wrong.")] = False,
    q: Annotated[str | None, Query(max_length=LONGEST_SEARCH, description="Only rows whose text holds this.")] = None,
) -> Response:
    """Each held-out row with what every arm answered."""

    def read() -> dict[str, Any]:
        job = part_jobs.find_part_job(state, caller, decision_id, "decision")
        return _answers(state, job, after, limit, differing, (q or "").casefold())

    return json_response(await store_call.run(read))


@router.get(
    "/{decision_id}/page", operation_id="getDecisionPage", response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}, "description": "One page, always a download."}},
)  # fmt: skip
async def decision_page(decision_id: DecisionId, state: State, caller: Caller) -> Response:
    """The decision as one page that works offline: verdict, picture, arms."""

    def read() -> Response:
        return part_jobs.page_response(state, part_jobs.find_part_job(state, caller, decision_id, "decision"), PAGE)

    return await store_call.run(read)


@router.post("/{decision_id}/cancel", operation_id="cancelDecision", response_model=DecisionShape)
async def cancel_decision(decision_id: DecisionId, state: State, caller: Caller) -> Response:
    """End a decision; it gives no verdict, and the arms so far are still told."""
    return await part_jobs.changed(state, caller, decision_id, "decision", "cancelled", _told)


@router.post("/{decision_id}/pause", operation_id="pauseDecision", response_model=DecisionShape)
async def pause_decision(decision_id: DecisionId, state: State, caller: Caller) -> Response:
    """Let a decision stop until it is resumed; the arm under way begins again then."""
    return await part_jobs.changed(state, caller, decision_id, "decision", "paused", _told)


@router.post("/{decision_id}/resume", operation_id="resumeDecision", response_model=DecisionShape)
async def resume_decision(decision_id: DecisionId, state: State, caller: Caller) -> Response:
    """Let a paused decision go on with the arms that it has."""
    return await part_jobs.changed(state, caller, decision_id, "decision", "", _told)


def _in_list(state: AppState, job: Job) -> dict[str, Any]:
    how = job.recipe.get("decide") or {}
    request = {"data": job.recipe.get("data"), "model": job.recipe.get("model"),
               "generator": job.recipe.get("generator"), **how}  # fmt: skip
    nothing = dict.fromkeys(("metric", "verdict_details", "rows", "prices", "notes", "seconds"))
    return {**part_jobs.part_job_json(job), "request": request, "arms": [], "picture": [], **nothing}


def _told(state: AppState, job: Job) -> dict[str, Any]:
    found = _in_list(state, job)
    report = part_jobs.kept_json(state, job, REPORT)
    if report is not None:
        arms = report["arms"]
        found |= {name: report[name] for name in ("metric", "rows", "prices", "notes", "seconds")}
        found["verdict_details"] = report["verdict"]
    else:
        arms = state.store.curves.parts(job.project_id, job.id)
        found["metric"] = next((arm["metric"] for arm in arms), None)
    found["arms"] = [{name: arm.get(name) for name in ArmShape.model_fields} for arm in arms]
    found["picture"] = [_point(arm, found["metric"]) for arm in found["arms"] if arm["metrics"]]
    return found


def _point(arm: dict[str, Any], metric: str) -> dict[str, Any]:
    value = arm["metrics"].get(metric) or {"value": None, "low": None, "high": None}
    return {
        "arm": arm["name"], "family": arm["family"], "cost": arm["cost"]["per_1000"],
        "latency_ms": arm["latency_ms"], **value,
    }  # fmt: skip


def _answers(state: AppState, job: Job, after: int, limit: int, differing: bool, words: str) -> dict[str, Any]:
    path = part_jobs.kept_file(state, job, ANSWERS)
    if path is None:
        raise ApiError(404, f"The decision {job.id} has no answers: it is {job.status}.", param="decision_id",
                       code="no_answers")  # fmt: skip
    names = file_names_of(state, job)
    fitting = [row for row in read_jsonl(path) if _fits(row, differing, words)]  # a decision has at most 1,000 rows
    page = fitting[after : after + limit]
    further = after + len(page)
    return {
        "object": "list", "task": job.task, "total": len(fitting), "data": [_row(row, names) for row in page],
        "next": further if further < len(fitting) else None,
    }  # fmt: skip


def _fits(row: dict[str, Any], differing: bool, words: str) -> bool:
    if words and words not in row["text"].casefold():
        return False
    right = [answer["wrong"] == 0 for answer in row["answers"].values()]
    return not differing or (any(right) and not all(right))


def _row(row: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    shown = {name: value for name, value in row.items() if name not in ("key", "answers")}
    answers = [{"arm": name, **answer} for name, answer in row["answers"].items()]
    return {**shown, "source": names.get(row["source"], row["source"]), "answers": answers}
