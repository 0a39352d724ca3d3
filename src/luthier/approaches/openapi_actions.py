"""Actions out of an OpenAPI document: one for each operation, with the address of the document's own server."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from luthier.approaches.actions import Action, HttpCall
from luthier.core.errors import UsageError
from luthier.core.recipe_io import read_yaml

_METHODS = ("get", "post", "put", "patch", "delete")
_MOST = 64
_DEEPEST = 12
"""Levels of a schema, its keywords included, that a model is shown."""


def openapi_actions(
    path: Path, *, operations: Sequence[str] = (), headers: Mapping[str, str], confirm: bool | None, seconds: float,
    answer_bytes: int,
) -> list[Action]:  # fmt: skip
    """The operations of a document (JSON or YAML, OpenAPI 3), or those named by their operationId.

    What reads (GET) needs no confirmation unless `confirm` says so. Raises `UsageError` for a document that holds none.
    """
    document = read_yaml(path)
    servers = document.get("servers")
    first = _mapping(servers[0]) if isinstance(servers, list) and servers else {}
    base = str(first.get("url") or "")
    for name, variable in _mapping(first.get("variables")).items():  # the document's defaults, never the model's words
        base = base.replace(f"{{{name}}}", str(_mapping(variable).get("default", "")))
    base = base.rstrip("/")
    if urlsplit(base).scheme not in ("http", "https") or not urlsplit(base).hostname or "{" in base:
        raise _wrong(path, "it names no server with a whole address (servers: [{url: https://...}])")
    found: list[Action] = []
    known: set[str] = set()
    for place, item in _mapping(document.get("paths")).items():
        shared = _list(_mapping(item).get("parameters"))
        if not str(place).startswith("/"):
            raise _wrong(path, f"the path {str(place)[:100]!r} does not begin with /")
        for method, operation in _mapping(item).items():
            if method not in _METHODS or not isinstance(operation, dict):
                continue
            name = str(operation.get("operationId") or f"{method}_{re.sub(r'[^A-Za-z0-9]+', '_', place).strip('_')}")
            if operations and name not in operations:
                continue
            known.add(name)
            given = [_resolved(document, one) for one in (*shared, *_list(operation.get("parameters")))]
            parameters, body = _parameters(document, given, operation)
            query = tuple(str(one.get("name")) for one in given if one.get("in") == "query")
            found.append(
                Action(
                    re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64],
                    str(operation.get("summary") or operation.get("description") or name)[:500],
                    parameters,
                    HttpCall(method.upper(), base + place, headers, seconds, answer_bytes, query, body),
                    confirm=method != "get" if confirm is None else confirm,
                )
            )
    missing = sorted(set(operations) - known)
    if missing or not found:
        raise _wrong(path, f"it has no operation {missing[0]!r}" if missing else "it has no operations")
    if len(found) > _MOST:
        raise _wrong(path, f"it has {len(found)} operations, more than the {_MOST} that a model can choose from")
    return found


def _parameters(
    document: Mapping[str, Any], given: Sequence[Mapping[str, Any]], operation: Mapping[str, Any]
) -> tuple[dict[str, Any], str | None]:
    """The schema of an operation's arguments, and the name of the one that is the whole body, where there is one."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    for one in given:
        if one.get("in") in ("path", "query") and isinstance(one.get("name"), str):
            properties[one["name"]] = _plain(document, one.get("schema") or {"type": "string"})
            if (one.get("required") or one["in"] == "path") and one["name"] not in required:
                required.append(one["name"])
    wanted = _resolved(document, operation.get("requestBody"))
    content = _mapping(_mapping(wanted.get("content")).get("application/json"))
    schema = _plain(document, content.get("schema"))
    whole: str | None = None
    if isinstance(schema.get("properties"), dict) and not set(schema) & {"allOf", "anyOf", "oneOf"}:
        properties |= schema["properties"]
        required += [name for name in _list(schema.get("required")) if name not in required]
    elif content:  # a list, a choice of shapes: one argument that is the body
        whole = "body"
        properties[whole] = schema
        required += [whole] if wanted.get("required") else []
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}, whole


def _resolved(document: Mapping[str, Any], given: Any, depth: int = 0) -> dict[str, Any]:
    value = _mapping(given)
    reference = value.get("$ref")
    if not isinstance(reference, str) or depth > 8:
        return value
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = _mapping(found).get(part.replace("~1", "/").replace("~0", "~"))
    return _resolved(document, found, depth + 1)


def _plain(document: Mapping[str, Any], schema: Any, depth: int = 0) -> Any:
    """A schema with its references put in their place, wherever they stand; deep ones are left open."""
    if isinstance(schema, list):
        return [_plain(document, one, depth + 1) for one in schema]
    if not isinstance(schema, dict):
        return {} if schema is None else schema
    if depth > _DEEPEST:
        return {}
    return {name: _plain(document, one, depth + 1) for name, one in _resolved(document, schema).items()}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _wrong(path: Path, what: str) -> UsageError:
    return UsageError(
        f"this OpenAPI document cannot be used: {what}.", where=str(path),
        remedy="Mend it, or describe the action itself.", code="invalid_openapi", param="actions",
    )  # fmt: skip
