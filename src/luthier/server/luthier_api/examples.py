"""The shipped examples: data sets that a first model can be made of, each with its recipe."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field

from luthier.data.shipped_examples import Example, examples
from luthier.server import store_call
from luthier.server.auth import Caller
from luthier.server.openai.answers import ERRORS, Shape, json_response

router = APIRouter(prefix="/luthier/v1", tags=["Data"], responses=ERRORS)


class ExampleObject(Shape):
    """An example. `recipe` lacks the files: `POST /luthier/v1/datasets` with its name makes them."""

    object: Literal["example"]
    name: str
    title: str
    summary: str
    task: Literal["classify", "regress", "extract", "chat", "complete"]
    columns: list[str]
    rows: int
    test_rows: int
    bytes: int
    recipe: dict[str, Any]


class ExampleList(Shape):
    """All examples, the best to begin with first."""

    object: Literal["list"]
    data: Annotated[list[ExampleObject], Field(max_length=100)]


@router.get("/examples", operation_id="listExamples", response_model=ExampleList)
async def list_examples(caller: Caller) -> Response:
    """The data sets that come with Luthier."""
    found = await store_call.run(lambda: [_shape(one) for one in examples()])
    return json_response({"object": "list", "data": found})


def _shape(example: Example) -> dict[str, Any]:
    return {
        "object": "example", "name": example.name, "title": example.title, "summary": example.summary,
        "task": example.task, "columns": list(example.columns), "rows": example.rows, "test_rows": example.test_rows,
        "bytes": example.train.stat().st_size, "recipe": example.recipe,
    }  # fmt: skip
