"""The tokens of one row, with what of them is learned."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response

from luthier.server import store_call
from luthier.server.auth import Caller
from luthier.server.dataset_views import open_view
from luthier.server.errors import ApiError
from luthier.server.luthier_api.dataset_checks import Task
from luthier.server.luthier_api.dataset_shapes import DatasetId, VersionNumber
from luthier.server.names import find
from luthier.server.openai.answers import ERRORS, Shape, json_response
from luthier.server.state import State
from luthier.server.token_reader import TokenReader, token_reading

router = APIRouter(prefix="/luthier/v1/datasets", tags=["Data"], responses=ERRORS, lifespan=token_reading)


class TokenObject(Shape):
    """A token. `weight` above 0: it is learned, so many times as much as others; 0: it is only read. `special`: it
    stands for no text of the row. `tag`: of spans (B-..., I-..., O). Joined, the texts of a conversation's tokens are
    what the model reads."""

    id: int
    text: str
    weight: float
    special: bool
    tag: str | None


class RowTokens(Shape):
    """A row as the model will see it. `total` and `learned` count tokens; `cut`: it is longer than `max_length`."""

    object: Literal["dataset.tokens"]
    row: int
    task: str
    model: str
    total: int
    learned: int
    max_length: int
    cut: bool
    tokens: list[TokenObject]


@router.get("/{dataset_id}/versions/{version}/tokens", operation_id="getDatasetRowTokens", response_model=RowTokens)
async def get_tokens(
    dataset_id: DatasetId, version: VersionNumber, state: State, caller: Caller,
    row: Annotated[int, Query(ge=1, le=2**31 - 1)], task: Task = "auto",
    model: Annotated[str | None, Query(min_length=1, max_length=256)] = None,
    max_length: Annotated[int | None, Query(ge=4, le=1_000_000)] = None,
) -> Response:  # fmt: skip
    """One row, token by token, as training would read it with the base `model`."""
    found = await store_call.run(state.store.datasets.version, caller.project_id, dataset_id, version)
    base = None if model is None else (await store_call.run(find, state, caller, model)).base
    view = await open_view(state, caller, found)
    rows, _ = await store_call.run(view.page, row - 1, 1)
    if not rows:
        raise ApiError(404, f"There is no row {row}; there are {view.count}.", param="row", code="not_found")
    problem = rows[0]["problem"]
    if problem is not None:
        raise ApiError(400, f"Row {row} cannot be read: {problem['message']}", param="row", code=problem["code"])
    request: dict[str, Any] = {
        "values": rows[0]["values"], "line": rows[0]["line"], "columns": list(rows[0]["values"]) or found.columns,
        "task": found.task if task == "auto" else task, "model": base.place if base else None,
        "max_length": max_length,
    }  # fmt: skip
    told = await TokenReader.of(state).ask(request)
    error = told.get("error")
    if error is not None:
        raise ApiError(400, str(error["message"]), param=error.get("param"), code=error.get("code"))
    named = base.name if base else "luthier-nano" if told["task"] in ("chat", "complete") else "minilm"
    return json_response({"object": "dataset.tokens", "row": row, "model": named, **told})
