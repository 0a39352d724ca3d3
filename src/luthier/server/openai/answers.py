"""What OpenAI's routes have in common: JSON bodies, lists, ids, and parameters of requests."""

from __future__ import annotations

import json
import math
import re
from typing import Annotated, Any

from fastapi import Path, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from luthier.core import clock
from luthier.server.errors import ApiError

LONGEST_ID = 128
"""Characters of any id that a client may send; ours are shorter."""
_ID = re.compile(r"[A-Za-z0-9_-]+")

PLAIN_TEXT = r"^[^\x00]*$"
"""A text that both databases can hold."""

Id = Annotated[str, Path(max_length=LONGEST_ID)]
After = Annotated[
    str | None, Query(max_length=LONGEST_ID, description="The id of the last item of the page before this one.")
]


class Shape(BaseModel):
    """An answer, for the OpenAPI document; the JSON itself is written by `json_response`."""

    model_config = ConfigDict(protected_namespaces=())


class Failure(Shape):
    """An error, as OpenAI writes it."""

    class Error(Shape):
        message: str
        type: str
        param: str | None
        code: str | None

    error: Error


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Failure, "description": what}
    for status, what in {
        400: "The request is wrong.",
        401: "No valid key was sent.",
        403: "The key may not do this.",
        404: "There is no such thing in this project.",
        429: "Too many requests.",
        503: "A part of the service is away; try again.",
    }.items()
}
"""For `responses=` of a router."""


def failure(status: int, what: str) -> dict[int | str, dict[str, Any]]:
    """A further status for `responses=` of a route."""
    return {status: {"model": Failure, "description": what}}


def json_bytes(value: Any) -> bytes:
    """`value` as JSON; a number that JSON has no word for becomes null."""
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_finite(value), allow_nan=False, separators=(",", ":"))
    return text.encode()


def json_response(value: Any) -> Response:
    """`value` as an answer."""
    return Response(json_bytes(value), media_type="application/json")


def list_of(items: list[dict[str, Any]], has_more: bool = False, *, id_field: str = "id") -> dict[str, Any]:
    """A page in OpenAI's shape."""
    return {
        "object": "list",
        "data": items,
        "has_more": has_more,
        "first_id": items[0][id_field] if items else None,
        "last_id": items[-1][id_field] if items else None,
    }


class PageShape(Shape):
    """The fields of a list, besides its data."""

    object: str = Field(pattern="^list$")
    has_more: bool
    first_id: str | None = None
    last_id: str | None = None


def check_id(value: str, missing: ApiError) -> str:
    """`value`, if it can be an id; the databases are not asked about anything else."""
    if not _ID.fullmatch(value) or len(value) > LONGEST_ID:
        raise missing
    return value


def now() -> int:
    """Seconds since 1970."""
    return int(clock.now().timestamp())


def shown(text: str) -> str:
    """A text of a client's as an error message quotes it."""
    return text if len(text) <= LONGEST_ID else text[:LONGEST_ID] + "..."


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
