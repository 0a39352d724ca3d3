"""A run that is not started: checked, and written down as a recipe file, Python, a command line and a request."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from luthier.core.recipe import Recipe
from luthier.jobs.recipes import file_ids
from luthier.jobs.records import Identity
from luthier.server import store_call
from luthier.server.auth import Caller
from luthier.server.luthier_api import recipe_texts
from luthier.server.luthier_api.recipe_requests import read_recipe
from luthier.server.openai.answers import ERRORS, Shape, json_response
from luthier.server.openai.job_requests import RecipeJobRequest
from luthier.server.state import AppState, State

router = APIRouter(prefix="/luthier/v1", tags=["Jobs"], responses=ERRORS)


class AutoShape(Shape):
    """A key that was left open. `value` is null where it is chosen when the job starts."""

    key: str
    value: Any
    reason: str


class RecipeTexts(Shape):
    """One run: `recipe` is what POST /luthier/v1/jobs takes; the rest is text. `yaml`, `python` and `command` are for
    the files by their names, `curl` for this server."""

    object: str
    recipe: dict[str, Any]
    task: str
    model: str
    auto: list[AutoShape]
    yaml: str
    python: str
    command: str
    curl: str


@router.post("/recipes", operation_id="writeRecipe", response_model=RecipeTexts)
async def write_recipe(body: RecipeJobRequest, request: Request, state: State, caller: Caller) -> Response:
    """Say what a job would be, without making it: every mistake is told as POST /luthier/v1/jobs tells it."""
    address = str(request.base_url).rstrip("/")
    return json_response(await store_call.run(_texts, state, caller, body, address))


def _texts(state: AppState, caller: Identity, body: RecipeJobRequest, address: str) -> dict[str, Any]:
    read = read_recipe(state, caller, body.recipe)
    recipe = Recipe.build(body.recipe)
    settled = {"task": read.values["task"], "model": read.asked_model}
    values = recipe_texts.asked_values(recipe, settled)
    files = {id: state.store.files.get(caller.project_id, id) for id in file_ids(read.values)}
    local = recipe_texts.with_names(values, files)
    open_keys = recipe_texts.autos(recipe, settled)
    reasons = {one["key"]: one["reason"] for one in open_keys if one["value"] is not None}
    return {
        "object": "recipe",
        "recipe": values,
        **settled,
        "auto": open_keys,
        "yaml": recipe_texts.as_yaml(local, reasons),
        "python": recipe_texts.as_python(local),
        "command": recipe_texts.as_command(local),
        "curl": recipe_texts.as_curl(address, values, body.suffix, body.metadata),
    }
