"""The OpenAPI document: every route, and the errors that each of them may answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse

from luthier import __version__
from luthier.server.auth import open_to_all_paths
from luthier.server.openai.answers import PLAIN_TEXT
from luthier.server.openapi_links import add_links

ERRORS = {
    "400": "The request is wrong.",
    "401": "The key is missing, unknown, revoked or expired.",
    "403": "The key may not do this.",
    "404": "There is no such thing in this project.",
    "408": "The body came too slowly.",
    "409": "The state of the thing does not allow this.",
    "413": "The body is too large.",
    "415": "The body is of another type than this route takes.",
    "429": "Too many requests of this key; see retry-after.",
    "500": "A fault of the server.",
    "503": "A part of the service is away; see retry-after.",
}
_WITH_BODY = {"408", "413", "415"}
_HEADER = {"schema": {"type": "string"}}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "additionalProperties": False,
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}

router = APIRouter(tags=["server"])


@router.get("/openapi.json", response_class=JSONResponse, responses={200: {"description": "This document."}})
async def openapi(request: Request) -> JSONResponse:
    """This document."""
    return JSONResponse(request.app.openapi())


def describe(app: FastAPI) -> dict[str, Any]:
    """The document of `app`."""
    document = get_openapi(
        title="Luthier",
        version=__version__,
        summary="Fine-tuning and inference on your own machine, in OpenAI's words.",
        routes=app.routes,
    )
    components = document.setdefault("components", {})
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "A key, lu-..."}}
    schemas = components.setdefault("schemas", {})
    schemas["ErrorAnswer"] = _ERROR
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    components["responses"] = {
        f"Error{status}": {
            "description": text,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}},
            **({"headers": {"retry-after": _HEADER}} if status in ("429", "503") else {}),
        }
        for status, text in ERRORS.items()
    }
    document["security"] = [{"key": []}]
    open_paths = open_to_all_paths(app)
    for path, item in document["paths"].items():
        for method, operation in item.items():
            _complete(operation, open_to_all=(path, method.upper()) in open_paths)
    add_links(document)
    for name in _asked_with(document):
        _without_nul(schemas[name])
    return document


def _complete(operation: dict[str, Any], *, open_to_all: bool) -> None:
    """Every error in one shape; the 422 that FastAPI writes down is never sent."""
    responses = operation.setdefault("responses", {})
    responses.pop("422", None)
    if open_to_all:
        operation["security"] = []
    for status in ERRORS:
        if open_to_all and status in ("401", "404", "409", "503"):
            continue
        if status in _WITH_BODY and "requestBody" not in operation:
            continue
        if status not in responses or "content" not in responses[status]:
            responses[status] = {"$ref": f"#/components/responses/Error{status}"}


def _asked_with(document: dict[str, Any]) -> set[str]:
    """The names of the schemas that bodies of requests are made of."""
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    waiting = [name for operation in operations for name in _references(operation.get("requestBody"))]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _references(document["components"]["schemas"][name])
    return found


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"].rpartition("/")[2]
        node = list(node.values())
    for part in node if isinstance(node, list) else ():
        yield from _references(part)


def _without_nul(node: Any) -> None:
    """Say of every text that it holds no U+0000, which `strict_json` refuses wherever it stands."""
    if isinstance(node, list):
        for part in node:
            _without_nul(part)
    if not isinstance(node, dict):
        return
    if node.get("type") == "string" and not {"pattern", "enum", "const", "format"} & set(node):
        node["pattern"] = PLAIN_TEXT
    if isinstance(node.get("additionalProperties"), dict):
        _without_nul(node.setdefault("propertyNames", {"type": "string"}))
    for name, part in node.items():
        if name not in ("default", "example", "examples", "enum", "const"):
            _without_nul(part)
