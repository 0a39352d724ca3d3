"""Searches over the values of a recipe: trials as they run, what mattered, and a training made of a trial."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from luthier.jobs.records import Identity, Job
from luthier.server import store_call
from luthier.server.auth import Caller
from luthier.server.errors import ApiError
from luthier.server.luthier_api import part_jobs
from luthier.server.luthier_api.part_jobs import PartJob
from luthier.server.luthier_api.recipe_requests import read_recipe
from luthier.server.luthier_api.search_requests import draft_of, read_search, space_of, trial_recipe
from luthier.server.openai.answers import ERRORS, LONGEST_ID, After, PageShape, Shape, failure, json_response
from luthier.server.openai.body import Body
from luthier.server.openai.fine_tuning import IdempotencyKey, Limit
from luthier.server.openai.job_making import new_job, submit
from luthier.server.openai.job_requests import Metadata, RecipeJobRequest, Suffix
from luthier.server.openai.job_shapes import RecipeJob, recipe_job_json
from luthier.server.state import AppState, State

router = APIRouter(prefix="/luthier/v1/searches", tags=["Searches"], responses=ERRORS)

REPORT, PAGE = "search.json", "search.html"
SearchId = Annotated[str, Path(max_length=LONGEST_ID)]
_FOUND = ("importance", "pareto", "luck", "rungs", "counts", "seconds", "notes", "metric_title", "higher_is_better")


class ParameterShape(Shape):
    """A parameter: choices, or a range."""

    name: str
    key: str
    choices: list[Any] | None
    low: float | None
    high: float | None
    log: bool


class TrialShape(Shape):
    """A trial. `epoch` of `epochs` are trained; `value` is of the search's metric on the validation rows. What is null
    while the search runs is there when it is over."""

    number: int
    state: Literal["running", "paused", "pruned", "complete", "failed"]
    params: dict[str, Any]
    epoch: int
    epochs: int | None
    value: float | None
    loss: float | None = None
    seconds: float | None
    trainable_parameters: int | None = None
    stopped_early: bool | None = None
    pareto: bool | None = None
    curve: list[list[float]] | None = None
    error: str | None


class TrialList(Shape):
    """`next` is the `after` of the next page; null at the end."""

    object: str
    data: list[TrialShape]
    total: int
    next: int | None


class SearchShape(PartJob):
    """A search. What it found (`importance`, `pareto`, `luck`, ...) is null until it is over."""

    object: Literal["search"]
    recipe: dict[str, Any]
    settings: dict[str, Any]
    parameters: list[ParameterShape]
    metric: str | None
    best: dict[str, Any] | None
    importance: dict[str, Any] | None
    pareto: dict[str, Any] | None
    luck: dict[str, Any] | None
    rungs: list[dict[str, Any]] | None
    counts: dict[str, int] | None
    seconds: float | None
    notes: list[str] | None
    metric_title: str | None
    higher_is_better: bool | None


class SearchList(PageShape):
    data: list[SearchShape]


class PromoteRequest(Body):
    """Of the training that a trial becomes."""

    suffix: Suffix | None = None
    metadata: Metadata | None = None


@router.post("", operation_id="createSearch", response_model=SearchShape, responses=failure(429, "Too many jobs wait."))
async def create_search(
    body: RecipeJobRequest, state: State, caller: Caller, idempotency_key: IdempotencyKey = None
) -> Response:
    """Search the values of a recipe that are `{"search": ...}`: many trials, then the best again and afresh. The
    recipe's key `search` holds trials, budget, sampler, pruner, objectives, workers and repeat."""

    def make() -> dict[str, Any]:
        read = read_search(state, caller, body.recipe)
        draft = draft_of(caller, read, body.suffix, body.metadata)
        return _told(state, submit(state, caller, draft, {"search": body.model_dump(mode="json")}, idempotency_key))

    return json_response(await store_call.run(make))


@router.get("", operation_id="listSearches", response_model=SearchList)
async def list_searches(
    request: Request, state: State, caller: Caller, after: After = None, limit: Limit = 20
) -> Response:
    """The project's searches, newest first."""
    return await part_jobs.listed(request, state, caller, after, limit, "search", _in_list)


@router.get("/{search_id}", operation_id="getSearch", response_model=SearchShape)
async def get_search(search_id: SearchId, state: State, caller: Caller) -> Response:
    """One search, with what it has found so far."""
    return json_response(await store_call.run(lambda: _told(state, _find(state, caller, search_id))))


@router.get("/{search_id}/trials", operation_id="listTrials", response_model=TrialList)
async def list_trials(
    search_id: SearchId, state: State, caller: Caller,
    after: Annotated[int, Query(ge=0, le=10**9, description="How many trials to pass over.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> Response:  # fmt: skip
    """The trials, in the order in which they began, as they are now."""

    def read() -> dict[str, Any]:
        every = _trials(state, _find(state, caller, search_id))
        page = every[after : after + limit]
        further = after + len(page)
        return {"object": "list", "data": page, "total": len(every), "next": further if further < len(every) else None}

    return json_response(await store_call.run(read))


@router.post("/{search_id}/cancel", operation_id="cancelSearch", response_model=SearchShape)
async def cancel_search(search_id: SearchId, state: State, caller: Caller) -> Response:
    """End a search; its trials so far are still told."""
    return await part_jobs.changed(state, caller, search_id, "search", "cancelled", _told)


@router.post("/{search_id}/pause", operation_id="pauseSearch", response_model=SearchShape)
async def pause_search(search_id: SearchId, state: State, caller: Caller) -> Response:
    """Let a search stop, with everything saved, until it is resumed."""
    return await part_jobs.changed(state, caller, search_id, "search", "paused", _told)


@router.post("/{search_id}/resume", operation_id="resumeSearch", response_model=SearchShape)
async def resume_search(search_id: SearchId, state: State, caller: Caller) -> Response:
    """Let a paused search go on with the trials that it has."""
    return await part_jobs.changed(state, caller, search_id, "search", "", _told)


@router.get(
    "/{search_id}/page", operation_id="getSearchPage", response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}, "description": "One page, always a download."}},
)  # fmt: skip
async def search_page(search_id: SearchId, state: State, caller: Caller) -> Response:
    """What was found, as one page that works offline."""
    return await store_call.run(lambda: part_jobs.page_response(state, _find(state, caller, search_id), PAGE))


@router.post(
    "/{search_id}/trials/{number}/promote", operation_id="promoteTrial", response_model=RecipeJob,
    responses=failure(429, "Too many jobs wait."),
)  # fmt: skip
async def promote_trial(
    search_id: SearchId, number: Annotated[int, Path(ge=0, le=10**6)], body: PromoteRequest, state: State,
    caller: Caller, idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Make a training job of a trial's recipe: trained whole, with checks, baselines and a report."""

    def make() -> Job:
        search = _find(state, caller, search_id)
        trial = next((one for one in _trials(state, search) if one["number"] == number), None)
        if trial is None:
            raise ApiError(404, f"The search {search.id} has no trial {number}.", param="number",
                           code="trial_not_found")  # fmt: skip
        read = read_recipe(state, caller, trial_recipe(search, trial["params"]))
        draft = new_job(
            caller, "recipe", read.asked_model, read.model, read.values, read.training_file, read.validation_file,
            body.suffix or search.suffix, body.metadata, read.seed,
        )  # fmt: skip
        asked = {"promote": [search.id, number], **body.model_dump(mode="json")}
        return submit(state, caller, draft, asked, idempotency_key)

    return json_response(recipe_job_json(await store_call.run(make), state.settings.organisation))


def _find(state: AppState, caller: Identity, search_id: str) -> Job:
    return part_jobs.find_part_job(state, caller, search_id, "search")


def _trials(state: AppState, job: Job) -> list[dict[str, Any]]:
    report = part_jobs.kept_json(state, job, REPORT)
    told = report["trials"] if report is not None else state.store.curves.parts(job.project_id, job.id)
    return [{**_nothing(), **{name: value for name, value in trial.items() if name in _TRIAL}} for trial in told]


_TRIAL = tuple(TrialShape.model_fields)


def _nothing() -> dict[str, Any]:
    return dict.fromkeys(_TRIAL)


def _in_list(state: AppState, job: Job) -> dict[str, Any]:
    """A search without what it found."""
    return {
        **part_jobs.part_job_json(job),
        "recipe": {key: value for key, value in job.recipe.items() if key != "search"},
        "settings": job.recipe.get("search") or {},
        "parameters": [_parameter(parameter) for parameter in space_of(job).parameters],
        "metric": job.result.get("metric"),
        "best": job.result.get("best"),
        **dict.fromkeys(_FOUND),
    }


def _told(state: AppState, job: Job) -> dict[str, Any]:
    found = _in_list(state, job)
    report = part_jobs.kept_json(state, job, REPORT)
    if report is not None:
        return found | {name: report.get(name) for name in (*_FOUND, "metric")}
    parts = state.store.curves.parts(job.project_id, job.id)
    best = next((part for part in reversed(parts) if part.get("is_best")), None)
    if best is not None:
        found["best"] = {"trial": best["number"], "params": best["params"], "value": best["value"]}
        found["metric"] = best.get("metric")
    return found


def _parameter(parameter: Any) -> dict[str, Any]:
    choices = None if parameter.choices is None else list(parameter.choices)
    return {
        "name": parameter.name, "key": parameter.key, "choices": choices,
        "low": None if choices else parameter.low, "high": None if choices else parameter.high, "log": parameter.log,
    }  # fmt: skip


