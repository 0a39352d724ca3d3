"""Answers that must be tool calls: the JSON schema that makes them so, and what is read from them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from luthier.data.templates.tool_calls import new_call

_CUT_CALL = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*')
_NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


def call_schema(tools: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A schema of ``{"name": ..., "arguments": {...}}`` for one call of any of `tools` (OpenAI's list)."""
    definitions: dict[str, Any] = {}
    calls = []
    for number, tool in enumerate(tools):
        function = tool["function"]
        place = f"arguments_{number}"
        definitions[place] = _moved(function.get("parameters") or _NO_ARGUMENTS, f"#/$defs/{place}")
        calls.append(
            {
                "type": "object",
                "properties": {"name": {"const": function["name"]}, "arguments": {"$ref": f"#/$defs/{place}"}},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    found = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return {**found, "$defs": definitions}


def read_call(text: str) -> list[dict[str, Any]]:
    """The call that an answer under `call_schema` makes. Where it was cut off, the arguments are as far as they came;
    nothing where not even the name is whole."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        cut = _CUT_CALL.match(text)
        return [] if cut is None else [new_call(json.loads(cut.group(1)), text[cut.end() :])]
    return [new_call(value["name"], json.dumps(value["arguments"], ensure_ascii=False))]


def _moved(schema: Any, root: str) -> Any:
    """`schema` with its references to its own root, which is now at `root`, corrected."""
    if isinstance(schema, list):
        return [_moved(part, root) for part in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {name: _moved(part, root) for name, part in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and (reference == "#" or reference.startswith("#/")):
        moved["$ref"] = root + reference[1:]
    return moved
