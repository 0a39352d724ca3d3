"""What a run would take, before it is begun: seconds, memory and cost, and what `auto` would choose."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field

from luthier.core.recipe import Recipe
from luthier.jobs.children import devices_here
from luthier.jobs.records import Identity, StoredFile
from luthier.models import catalogue
from luthier.search import ledger
from luthier.search.forecast import Forecast
from luthier.search.machine import machine_key
from luthier.search.quick import BYTES_PER_TOKEN, quick, tokens_of_bytes
from luthier.server import data_children, store_call
from luthier.server.auth import Caller
from luthier.server.errors import ApiError
from luthier.server.local_files import local_files
from luthier.server.luthier_api.recipe_requests import ReadRecipe, read_recipe
from luthier.server.openai.answers import ERRORS, Shape, json_bytes, json_response
from luthier.server.openai.body import Body, SmallObject
from luthier.server.openai.files import find_file
from luthier.server.state import AppState, State

router = APIRouter(prefix="/luthier/v1", tags=["Jobs"], responses=ERRORS)
_NAME = "forecasts"
_KEPT = 64
"""Data sets whose sizes are remembered, so that a choice is answered at once."""
_MOST_ROWS = 2_000_000
Sizes = dict[str, Any]


class ForecastRequest(Body):
    """The recipe that would be run, as POST /luthier/v1/jobs takes it."""

    recipe: SmallObject = Field(
        description="The keys of a recipe file. data.train, data.validation and data.test are ids of files."
    )


class Chosen(Shape):
    """A value that the recipe leaves open, and why it would be this."""

    key: str
    value: str | int | float
    reason: str


class ForecastObject(Shape):
    """A forecast. `seconds` and `peak_memory_bytes` have a value with its interval; `cost`, `stages` and `elsewhere`
    are as `luthier forecast --json` prints them."""

    object: Literal["forecast"]
    seconds: dict[str, float]
    peak_memory_bytes: dict[str, float]
    cost: dict[str, Any]
    basis: str
    stages: dict[str, float]
    elsewhere: list[dict[str, Any]]
    notes: list[str]
    model: str
    task: str
    method: str
    rows: int
    tokens_per_epoch: int
    epochs: int | float
    steps: int
    machine: str
    runs_known: int
    chosen: list[Chosen]


@router.post("/forecast", operation_id="forecastJob", response_model=ForecastObject)
async def forecast(body: ForecastRequest, state: State, caller: Caller) -> Response:
    """Forecast a run from the sizes of its rows, the shape of its base and the runs that this machine has done."""
    read = await store_call.run(read_recipe, state, caller, body.recipe)
    recipe = Recipe.build(read.values)
    train = await _sizes(state, caller, recipe, recipe.data.train)
    held = recipe.data.validation
    validation = await _sizes(state, caller, recipe, held) if isinstance(held, str | list) else None
    test = await _sizes(state, caller, recipe, recipe.data.test) if recipe.data.test is not None else None
    if train["rows"] < 2:
        raise ApiError(400, "Training needs at least two rows that can be used.", param="recipe.data.train",
                       code="too_few_rows")  # fmt: skip
    found = await store_call.run(_forecast, recipe, read, train, validation, test)
    told = found.to_dict() | {"object": "forecast", "chosen": _chosen(body.recipe, found, read)}
    return json_response(told)


async def _sizes(state: AppState, caller: Identity, recipe: Recipe, source: Any) -> Sizes:
    """The sizes of the rows of a part of the data, remembered by its files."""
    ids: Sequence[str] = [source] if isinstance(source, str) else source
    files = [await store_call.run(find_file, state, caller, file_id, "recipe.data") for file_id in ids]
    known = state.extras.setdefault(_NAME, OrderedDict())
    assert isinstance(known, OrderedDict)
    key = json_bytes([caller.project_id, ids, recipe.task, recipe.data.columns])
    if key in known:
        known.move_to_end(key)
    else:
        known[key] = await _read_sizes(state, recipe, files)
        while len(known) > _KEPT:
            known.popitem(last=False)
    found: Sizes = known[key]
    return found


async def _read_sizes(state: AppState, recipe: Recipe, files: list[StoredFile]) -> Sizes:
    async with data_children.turn(state):
        copies = local_files(state, files)
        paths = await store_call.run(copies.__enter__)
        try:
            request = {
                "sources": [str(path) for path in paths], "task": recipe.task, "columns": recipe.data.columns or None,
                "names": {str(path): file.filename for path, file in zip(paths, files, strict=True)},
            }  # fmt: skip
            told = await data_children.ask("luthier.jobs.row_sizes", request, param="recipe.data")
        finally:
            await store_call.run(copies.__exit__, None, None, None)
    error = told.get("error")
    if error is not None:
        raise ApiError(400, str(error["message"]), param="recipe.data", code=error["code"])
    return told


def _forecast(
    recipe: Recipe, read: ReadRecipe, train: Sizes, validation: Sizes | None, test: Sizes | None
) -> Forecast:
    task, base = read.values["task"], read.model.base
    entry = next((one for one in catalogue.entries() if one.name == base.name), None)
    place = catalogue.place_of(entry) if entry is not None else Path(base.place)
    if place is None:
        raise ApiError(400, f"The weights of '{base.name}' are not here.", param="recipe.model", code="model_not_found")
    config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    writes = base.kind == "generative"
    return quick(
        recipe, task=task, lengths=_lengths(train, task), config=config, labels=train["labels"] or 1,
        entries=ledger.read(), machine=machine_key(devices_here()[0]), model=base.name if entry else "",
        validation=None if validation is None else _lengths(validation, task),
        test_rows=None if test is None else test["rows"],
        answer_tokens=train["answer_bytes"] / BYTES_PER_TOKEN[writes] + 1,
        parameters=None if entry is None else entry.parameters,
    )  # fmt: skip


def _lengths(sizes: Sizes, task: str) -> list[int]:
    """Tokens of each row; where only some sizes are known, the others are like them."""
    known: list[int] = tokens_of_bytes(sizes["sizes"], task)
    rows = min(int(sizes["rows"]), _MOST_ROWS)
    return (known * -(-rows // max(1, len(known))))[:rows]


def _chosen(asked: dict[str, Any], found: Forecast, read: ReadRecipe) -> list[dict[str, Any]]:
    """What the recipe leaves open, as the run would settle it."""
    work = found.workload
    spec = asked.get("train")
    train: dict[str, Any] = spec if isinstance(spec, dict) else {}
    rows = f"{work.train.rows:,} rows to learn from"
    every = [
        ("model", asked.get("model", "auto"), read.model.base.name, f"the default for {work.task}"),
        ("task", asked.get("task", "auto"), work.task, "the columns say so"),
        ("train.batch_size", train.get("batch_size", "auto"), work.rows_per_step, rows),
        ("train.epochs", train.get("epochs", "auto"), work.epochs,
         f"{rows} make {work.steps_per_epoch:,} steps an epoch with {work.method}; patience may end it earlier"),
    ]  # fmt: skip
    return [{"key": key, "value": value, "reason": reason} for key, given, value, reason in every if given == "auto"]
