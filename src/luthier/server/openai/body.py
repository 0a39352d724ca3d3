"""Shapes that several requests share: strict, bounded everywhere, and told in the client's own words."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

MAX_CHARACTERS = 2_000_000
"""Of all texts of one request. Escaped as ASCII, at most twelve bytes each, they fit into a line to the engine."""
MAX_JSON_CHARACTERS = 200_000
"""Of one schema, or of the parameters of one tool."""
MAX_DEPTH = 64
MAX_TOKENS = 1_000_000
MAX_CHOICES = 16
MAX_STOPS = 4
MAX_STOP_CHARACTERS = 200


class Body(BaseModel):
    """A request's body or a part of one: unknown fields, and values of another type, are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _whole_numbers(cls, value: Any) -> Any:
        """JSON has one kind of number: 16.0 is the integer 16, as JSON Schema says too."""
        if isinstance(value, dict) and any(isinstance(part, float) for part in value.values()):
            return {name: whole(part) for name, part in value.items()}
        return value


def whole(value: Any) -> Any:
    """A float that is a whole number as the int that it is; anything else as it came."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**63 else value


def _unsupported(value: Any) -> None:
    if value is not None:
        raise PydanticCustomError("unsupported_parameter", "the models served here do not support it; leave it out")


def _sound(value: dict[str, Any]) -> dict[str, Any]:
    """JSON that can be written again: numbers are finite, texts are Unicode, and it is neither deep nor long."""
    _walk(value, 0)
    if len(json.dumps(value, ensure_ascii=False)) > MAX_JSON_CHARACTERS:
        raise PydanticCustomError("too_long", "it has more than {limit} characters", {"limit": MAX_JSON_CHARACTERS})
    return value


def _walk(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise PydanticCustomError("too_deep", "it is nested deeper than {limit} levels", {"limit": MAX_DEPTH})
    if isinstance(value, dict):
        for name, part in value.items():
            _walk(name, depth)
            _walk(part, depth + 1)
    elif isinstance(value, list):
        for part in value:
            _walk(part, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("finite_number", "it holds a number that is not finite")
    elif isinstance(value, str) and not _is_unicode(value):
        raise PydanticCustomError("string_unicode", "it holds half of a surrogate pair")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def texts_of(what: str) -> Callable[[Any], Any]:
    """For a `BeforeValidator`: one text is a list of one, and lists of token ids are refused as `what`."""

    def check(value: Any) -> Any:
        if isinstance(value, list) and any(isinstance(item, int | list) for item in value):
            raise PydanticCustomError(
                "token_ids",
                "{what} of token ids are not taken, since ids mean something else to each model; give texts",
                {"what": what},
            )
        return _as_list(value)

    return check


Unsupported = Annotated[Any, AfterValidator(_unsupported), WithJsonSchema({"type": "null"})]
"""A field of OpenAI's that changes answers in a way that no model here can."""
Ignored = Annotated[Any, WithJsonSchema({})]
"""A field of OpenAI's about their own service (storing, caching, billing), which changes no answer."""
JsonObject = Annotated[dict[str, Any], AfterValidator(_sound)]
SmallObject = Annotated[dict[str, Any], Field(max_length=16), AfterValidator(_sound)]
"""The same with few keys of its own."""
ModelName = Annotated[str, Field(min_length=1, max_length=300)]
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]
StopText = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]
Stops = Annotated[
    list[StopText],
    Field(max_length=MAX_STOPS),
    BeforeValidator(_as_list),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": MAX_STOP_CHARACTERS},
                {
                    "type": "array",
                    "maxItems": MAX_STOPS,
                    "items": {"type": "string", "minLength": 1, "maxLength": MAX_STOP_CHARACTERS},
                },
            ]
        }
    ),
]
Choices = Annotated[int, Field(ge=1, le=MAX_CHOICES)]
Tokens = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Temperature = Annotated[float, Field(ge=0, le=2)]
TopP = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
FunctionName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class StreamOptions(Body):
    """`include_obfuscation` is OpenAI's padding against eavesdroppers, which is not written here."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class SamplingFields(Body):
    """How the next token is chosen: OpenAI's fields, and three that other servers have added to them."""

    temperature: Temperature | None = None
    top_p: TopP | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    stop: Stops | None = None
    seed: Seed | None = None
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    logit_bias: (
        Annotated[
            dict[Annotated[str, Field(max_length=20)], Annotated[float, Field(ge=-100, le=100)]], Field(max_length=300)
        ]
        | None
    ) = None
    user: Annotated[str, Field(max_length=512)] | None = None

    def sampling(self, max_tokens: int | None) -> dict[str, Any]:
        """Fields of `core.generation.Sampling`; without `max_tokens` an answer may fill the model's context."""
        top_p = 1.0 if self.top_p is None else self.top_p
        found: dict[str, Any] = {
            "max_tokens": MAX_TOKENS if max_tokens is None else max_tokens,
            "temperature": 1.0 if self.temperature is None else self.temperature,
            "top_p": max(top_p, 1e-6),  # OpenAI takes 0, which leaves the likeliest token alone, as this does
        }
        for name in ("presence_penalty", "frequency_penalty", "top_k", "min_p", "repetition_penalty", "seed"):
            value = getattr(self, name)
            if value is not None:
                found[name] = value
        if self.stop:
            found["stop"] = self.stop
        return found
