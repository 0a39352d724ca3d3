"""Jobs as recipes: any task and method, with what OpenAI has no word for."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from luthier.jobs.records import Job
from luthier.server import store_call
from luthier.server.auth import Caller
from luthier.server.luthier_api.recipe_requests import read_recipe
from luthier.server.openai.answers import ERRORS, After, Id, failure, json_response, list_of
from luthier.server.openai.fine_tuning import IdempotencyKey, Limit, find_training, page_of_jobs
from luthier.server.openai.job_making import new_job, submit
from luthier.server.openai.job_requests import RecipeJobRequest
from luthier.server.openai.job_shapes import RecipeJob, RecipeJobList, recipe_job_json
from luthier.server.state import State

router = APIRouter(prefix="/luthier/v1", tags=["Jobs"], responses=ERRORS)


@router.post("/jobs", response_model=RecipeJob, responses=failure(429, "Too many jobs wait."))
async def create_recipe_job(
    body: RecipeJobRequest, state: State, caller: Caller, idempotency_key: IdempotencyKey = None
) -> Response:
    """Make a job from a recipe. It is also one of `/v1/fine_tuning/jobs`, where it can be followed and cancelled."""

    def make() -> Job:
        read = read_recipe(state, caller, body.recipe)
        draft = new_job(
            caller, "recipe", read.asked_model, read.model, read.values, read.training_file, read.validation_file,
            body.suffix, body.metadata, read.seed,
        )  # fmt: skip
        return submit(state, caller, draft, body.model_dump(mode="json"), idempotency_key)

    return json_response(recipe_job_json(await store_call.run(make), state.settings.organisation))


@router.get("/jobs", response_model=RecipeJobList)
async def list_recipe_jobs(
    request: Request, state: State, caller: Caller, after: After = None, limit: Limit = 20
) -> Response:
    """All jobs of the project, newest first, with their recipes."""
    page = await page_of_jobs(request, state, caller, after, limit)
    organisation = state.settings.organisation
    return json_response(list_of([recipe_job_json(job, organisation) for job in page.items], page.has_more))


@router.get("/jobs/{job_id}", response_model=RecipeJob)
async def get_recipe_job(job_id: Id, state: State, caller: Caller) -> Response:
    """One job, with its recipe and, when it is over, its metrics."""
    job = await store_call.run(find_training, state, caller, job_id)
    return json_response(recipe_job_json(job, state.settings.organisation))
