"""Automatic runs: method and settings chosen within a budget; candidates as they run, and the model that came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from luthier.jobs.best_so_far import stopped_words
from luthier.jobs.recipes import file_ids
from luthier.jobs.records import Identity, Job
from luthier.server import store_call
from luthier.server.auth import Caller
from luthier.server.luthier_api import auto_texts, part_jobs
from luthier.server.luthier_api.auto_requests import AutoRequest, auto_draft
from luthier.server.luthier_api.part_jobs import PartJob
from luthier.server.openai.answers import ERRORS, LONGEST_ID, After, PageShape, Shape, failure, json_response
from luthier.server.openai.fine_tuning import IdempotencyKey, Limit
from luthier.server.openai.job_making import submit
from luthier.server.state import AppState, State

router = APIRouter(prefix="/luthier/v1/autos", tags=["Automatic runs"], responses=ERRORS)

REPORT, PAGE = "auto.json", "auto.html"
AutoId = Annotated[str, Path(max_length=LONGEST_ID)]
_FOUND = ("metric", "metric_title", "higher_is_better", "seconds", "rows", "baseline", "notes", "final")


class CandidateShape(Shape):
    """A candidate. `epoch` of `epochs` are trained; `value` is of the run's metric on the validation rows, `at` the
    seconds of the budget when it came. What is null while it runs is there when the run is over: `pareto` says that no
    other is better in value, seconds and trained parameters together."""

    number: int
    name: str
    state: Literal["running", "paused", "complete", "failed", "stopped"]
    epoch: int
    epochs: int
    value: float | None
    seconds: float | None
    at: float | None
    error: str | None
    loss: float | None = None
    seconds_of_all: float | None = None
    trainable_parameters: int | None = None
    stopped_early: bool | None = None
    pareto: bool | None = None
    curve: list[list[float | None]] | None = None


class NamedCandidate(Shape):
    """One of the candidates."""

    trial: int
    name: str
    value: float | None


class AutoShape(PartJob):
    """An automatic run. `best` is the best candidate so far, at last the winner; `usable` the one whose model can be
    called already, by the name `fine_tuned_model`, and is kept if the run is cancelled now. `recipe`, `final` (what
    the winner's last run proved), `rows`, `notes` and `seconds` come with its end."""

    object: Literal["auto"]
    request: dict[str, Any]
    budget_seconds: float
    elapsed_seconds: float | None
    metric: str | None
    metric_title: str | None
    higher_is_better: bool | None
    candidates: list[CandidateShape]
    best: NamedCandidate | None
    usable: NamedCandidate | None
    baseline: dict[str, Any] | None
    recipe: dict[str, Any] | None
    rows: dict[str, int] | None
    final: dict[str, Any] | None
    notes: list[str] | None
    seconds: float | None


class AutoList(PageShape):
    data: list[AutoShape]


class AutoTexts(Shape):
    """One automatic run as texts: `python` and `command` are for the files by their names, `curl` for this server."""

    object: str
    task: str
    model: str
    python: str
    command: str
    curl: str


@router.post("", operation_id="createAuto", response_model=AutoShape, responses=failure(429, "Too many jobs wait."))
async def create_auto(
    body: AutoRequest, state: State, caller: Caller, idempotency_key: IdempotencyKey = None
) -> Response:
    """Choose model, method and settings within a budget, and train the winner: `luthier auto` as a job."""

    def make() -> dict[str, Any]:
        draft = auto_draft(state, caller, body)
        return _told(state, submit(state, caller, draft, {"auto": body.model_dump(mode="json")}, idempotency_key))

    return json_response(await store_call.run(make))


@router.post("/texts", operation_id="writeAuto", response_model=AutoTexts)
async def write_auto(body: AutoRequest, request: Request, state: State, caller: Caller) -> Response:
    """Say what an automatic run would be, without making it: every mistake is told as POST /luthier/v1/autos does."""
    address = str(request.base_url).rstrip("/")
    return json_response(await store_call.run(_texts, state, caller, body, address))


@router.get("", operation_id="listAutos", response_model=AutoList)
async def list_autos(
    request: Request, state: State, caller: Caller, after: After = None, limit: Limit = 20
) -> Response:
    """The project's automatic runs, newest first, without their candidates."""
    return await part_jobs.listed(request, state, caller, after, limit, "auto", _in_list)


@router.get("/{auto_id}", operation_id="getAuto", response_model=AutoShape)
async def get_auto(auto_id: AutoId, state: State, caller: Caller) -> Response:
    """One automatic run, with its candidates as they are now."""
    return json_response(await store_call.run(lambda: _told(state, _find(state, caller, auto_id))))


@router.get(
    "/{auto_id}/page", operation_id="getAutoPage", response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}, "description": "One page, always a download."}},
)  # fmt: skip
async def auto_page(auto_id: AutoId, state: State, caller: Caller) -> Response:
    """The verdict, quality against training time, the Pareto table and every candidate, as one page to download."""
    return await store_call.run(lambda: part_jobs.page_response(state, _find(state, caller, auto_id), PAGE))


@router.post("/{auto_id}/cancel", operation_id="cancelAuto", response_model=AutoShape)
async def cancel_auto(auto_id: AutoId, state: State, caller: Caller) -> Response:
    """End an automatic run. Where a model was there, the best one so far is kept, and `verdict` says so."""
    return await part_jobs.changed(state, caller, auto_id, "auto", "cancelled", _told)


@router.post("/{auto_id}/pause", operation_id="pauseAuto", response_model=AutoShape)
async def pause_auto(auto_id: AutoId, state: State, caller: Caller) -> Response:
    """Let an automatic run stop, with everything saved, until it is resumed; its budget waits too."""
    return await part_jobs.changed(state, caller, auto_id, "auto", "paused", _told)


@router.post("/{auto_id}/resume", operation_id="resumeAuto", response_model=AutoShape)
async def resume_auto(auto_id: AutoId, state: State, caller: Caller) -> Response:
    """Let a paused automatic run go on with the candidates that it has, and the time that was left."""
    return await part_jobs.changed(state, caller, auto_id, "auto", "", _told)


def _find(state: AppState, caller: Identity, auto_id: str) -> Job:
    return part_jobs.find_part_job(state, caller, auto_id, "auto")


def _texts(state: AppState, caller: Identity, body: AutoRequest, address: str) -> dict[str, Any]:
    draft = auto_draft(state, caller, body)
    files = {id: state.store.files.get(caller.project_id, id) for id in file_ids(draft.recipe)}
    asked = auto_texts.asked_values(draft.recipe, files, named=body.model is not None)
    return {
        "object": "auto.texts", "task": draft.task, "model": draft.model,
        "python": auto_texts.as_python(asked), "command": auto_texts.as_command(asked),
        "curl": auto_texts.as_curl(address, body.model_dump(mode="json", exclude_unset=True, exclude_none=True)),
    }  # fmt: skip


def _in_list(state: AppState, job: Job) -> dict[str, Any]:
    """An automatic run without what it found."""
    how = job.recipe.get("auto") or {}
    request = {"data": job.recipe.get("data"), "task": job.recipe.get("task"), "model": job.recipe.get("model"), **how}
    told = part_jobs.part_job_json(job)
    told["verdict"] = told["verdict"] or stopped_words(job) or None
    return {
        **told, "request": request, "budget_seconds": float(how.get("budget") or 0.0),
        "elapsed_seconds": None, "candidates": [], "best": (best := _named(job.result.get("best"))),
        "usable": best if job.fine_tuned_model and not job.terminal else None, "recipe": None, **dict.fromkeys(_FOUND),
    }  # fmt: skip


def _told(state: AppState, job: Job) -> dict[str, Any]:
    found = _in_list(state, job)
    report = part_jobs.kept_json(state, job, REPORT)
    if report is not None:
        found |= {name: report.get(name) for name in _FOUND}
        found |= {"elapsed_seconds": report["seconds"], "candidates": [_candidate(one) for one in report["trials"]]}
        if report["best"] is not None:
            found |= {"best": _named(report["best"]), "recipe": report["best"]["recipe"]}
        return found
    parts = state.store.curves.parts(job.project_id, job.id)
    found["candidates"] = [_candidate({"at": part.get("elapsed"), **part}) for part in parts]
    newest = max((part for part in parts if part.get("best") is not None), key=lambda one: one["elapsed"], default=None)
    if newest is not None:
        found |= {name: newest.get(name) for name in ("metric", "higher_is_better")}
        found |= {"elapsed_seconds": newest["elapsed"]}
        if not (job.terminal and found["best"]):
            found["best"] = _of(parts, newest["best"])
    return found


_CANDIDATE = tuple(CandidateShape.model_fields)


def _candidate(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: told.get(name) or None if name == "error" else told.get(name) for name in _CANDIDATE}


def _of(parts: Sequence[Mapping[str, Any]], number: int | None) -> dict[str, Any] | None:
    one = next((part for part in parts if part["number"] == number), None)
    return None if one is None else {"trial": one["number"], "name": one["name"], "value": one["value"]}


def _named(best: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if best is None else {name: best[name] for name in ("trial", "name", "value")}
