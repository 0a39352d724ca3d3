"""What a run will take, before it is started: time, memory and cost."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from luthier.jobs.recipes import file_ids, with_paths
from luthier.jobs.records import Identity, StoredFile
from luthier.server import data_children, store_call
from luthier.server.auth import Caller
from luthier.server.errors import ApiError
from luthier.server.local_files import local_files
from luthier.server.luthier_api.recipe_requests import read_recipe
from luthier.server.openai.answering import unless_gone
from luthier.server.openai.answers import ERRORS, Shape, json_response
from luthier.server.openai.files import find_file
from luthier.server.openai.job_requests import RecipeJobRequest
from luthier.server.state import AppState, State

router = APIRouter(prefix="/luthier/v1", tags=["Jobs"], responses=ERRORS)

LONGEST_SECONDS = 120.0
_KEPT = 64
_NAME = "luthier_api.forecasts"


class Spread(Shape):
    """A value, and between which values it will be nine times of ten."""

    value: float
    low: float
    high: float


class RunForecast(Shape):
    """A forecast. `basis`: formula, or runs that the ledger of this machine knows; `cost` by what it is made of."""

    seconds: Spread
    peak_memory_bytes: Spread
    cost: dict[str, Any] | None
    basis: str
    stages: dict[str, float]
    notes: list[str]
    model: str
    task: str
    method: str
    rows: int
    epochs: float
    steps: int
    runs_known: int


@router.post("/forecast", operation_id="forecastRun", response_model=RunForecast)
async def forecast_run(body: RecipeJobRequest, request: Request, state: State, caller: Caller) -> Response:
    """Say what a job would take, without making it. Nothing is trained; it reads the data."""
    recipe, files = await store_call.run(_looked_up, state, caller, body.recipe)
    known = _known(state)
    key = repr((recipe, [file.sha256 for file in files]))
    if key not in known:
        answer = await unless_gone(request, _ask(state, recipe, files))
        error = answer.get("error")
        if error is not None:
            raise ApiError(400, str(error["message"]), param=error.get("param"), code=error.get("code"))
        while len(known) >= _KEPT:
            known.pop(next(iter(known)), None)
        known[key] = answer["forecast"]
    names = RunForecast.model_fields
    return json_response({name: value for name, value in known[key].items() if name in names})


def _looked_up(state: AppState, caller: Identity, values: dict[str, Any]) -> tuple[dict[str, Any], list[StoredFile]]:
    read = read_recipe(state, caller, values)
    recipe = {**read.values, "model": read.model.base.place}
    return recipe, [find_file(state, caller, file_id, "recipe.data") for file_id in file_ids(recipe)]


def _known(state: AppState) -> dict[str, dict[str, Any]]:
    """Forecasts that were made, by what they depend on: a page asks again and again."""
    found = state.extras.setdefault(_NAME, {})
    assert isinstance(found, dict)
    return found


async def _ask(state: AppState, recipe: dict[str, Any], files: list[StoredFile]) -> dict[str, Any]:
    async with data_children.turn(state):
        copies = local_files(state, files)
        paths = await store_call.run(copies.__enter__)
        try:
            request = {
                "recipe": with_paths(recipe, {file.id: path for file, path in zip(files, paths, strict=True)}),
                "names": {str(path): file.filename for file, path in zip(files, paths, strict=True)},
            }
            return await data_children.ask(
                "luthier.jobs.run_forecast", request, param="recipe", what="forecast", seconds=LONGEST_SECONDS
            )
        finally:
            await store_call.run(copies.__exit__, None, None, None)
