"""Bodies of requests, read strictly: the server has checked them before, and nothing here trusts that."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from luthier.core.conversation import Completion, Conversation
from luthier.core.errors import UsageError
from luthier.core.generation import Sampling
from luthier.core.predictor import TextInput
from luthier.models.generation import Asked, check_sampling
from luthier.models.generation.prompts import conversation_of

MAX_CHOICES = 128
MAX_TEXTS = 4096
MAX_SCHEMA_CHARACTERS = 400_000
MAX_SCHEMA_DEPTH = 80
_SAMPLING = TypeAdapter(Sampling)


@dataclass(frozen=True, slots=True)
class Writing:
    """A ``generate``. `tools` are the names of the functions that may be called in an answer without a schema."""

    asked: Asked
    samplings: tuple[Sampling, ...]
    tools: frozenset[str]


@dataclass(frozen=True, slots=True)
class Reading:
    """An ``embed`` or a ``predict``."""

    texts: tuple[TextInput, ...]
    threshold: float | None = None


def read_generate(body: dict[str, Any]) -> Writing:
    """Raises `UsageError` that names the field."""
    choices = body.get("n", 1)
    if type(choices) is not int or not 1 <= choices <= MAX_CHOICES:
        raise _wrong("n", f"a whole number from 1 to {MAX_CHOICES}")
    sampling = _sampling(body.get("sampling", {}))
    tools: frozenset[str] = frozenset()
    if ("messages" in body) == ("prompt" in body):
        raise _wrong("messages", "given, or else 'prompt'")
    if "messages" in body:
        conversation = conversation_of(body["messages"], body.get("tools"))
        asked: Asked = conversation
        if sampling.json_schema is None and body.get("tool_choice") != "none":
            tools = _names(conversation)
    else:
        prompt, suffix = body["prompt"], body.get("suffix")
        if not isinstance(prompt, str) or not isinstance(suffix, str | None):
            raise _wrong("prompt", "a text")
        asked = Completion(prompt, "", suffix)
    return Writing(asked, _each(sampling, choices), tools)


def read_texts(body: dict[str, Any]) -> Reading:
    """Raises `UsageError` that names the field."""
    texts = body.get("texts")
    if not isinstance(texts, list) or not 1 <= len(texts) <= MAX_TEXTS:
        raise _wrong("texts", f"a list of 1 to {MAX_TEXTS:,} texts")
    threshold = body.get("threshold")
    if threshold is not None and (type(threshold) not in (int, float) or not 0 <= threshold <= 1):
        raise _wrong("threshold", "a number from 0 to 1")
    return Reading(tuple(_text(text) for text in texts), threshold)


def _text(value: Any) -> TextInput:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and [type(part) for part in value] == [str, str]:
        return (value[0], value[1])
    raise _wrong("texts", "texts, or pairs of texts")


def _sampling(given: Any) -> Sampling:
    if not isinstance(given, dict):
        raise _wrong("sampling", "an object")
    for name in given:
        if name not in Sampling.__dataclass_fields__:
            raise _wrong(str(name)[:100], "a known setting")
    try:
        sampling = _SAMPLING.validate_python(given)
    except (ValidationError, RecursionError, OverflowError) as error:
        where = error.errors()[0]["loc"] if isinstance(error, ValidationError) else ()
        raise _wrong(str(where[0]) if where else "sampling", "of the right type") from None
    check_sampling(sampling)
    seed = sampling.seed
    if seed is not None and not -(2**63) <= seed < 2**63:
        raise _wrong("seed", "a whole number of 64 bits")
    _check_schema(sampling.json_schema)
    return sampling


def _check_schema(schema: dict[str, Any] | None) -> None:
    """Size and depth; the time to compile what is within them is limited by llguidance itself."""
    if schema is None:
        return
    waiting: list[tuple[Any, int]] = [(schema, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_SCHEMA_DEPTH:
            raise _wrong("json_schema", f"nested at most {MAX_SCHEMA_DEPTH} levels deep")
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        waiting.extend((part, depth + 1) for part in parts)
    if len(json.dumps(schema)) > MAX_SCHEMA_CHARACTERS:
        raise _wrong("json_schema", f"at most {MAX_SCHEMA_CHARACTERS:,} characters long")


def _each(sampling: Sampling, choices: int) -> tuple[Sampling, ...]:
    """One for each choice: with a seed, each draws its own numbers."""
    if sampling.seed is None:
        return (sampling,) * choices
    return tuple(replace(sampling, seed=(sampling.seed + index) % 2**63) for index in range(choices))


def _names(conversation: Conversation) -> frozenset[str]:
    return frozenset(str(tool["function"]["name"]) for tool in conversation.tools)


def _wrong(name: str, expected: str) -> UsageError:
    return UsageError(f"{name} must be {expected}.", remedy="Correct the request.", code="invalid_request", param=name)
