"""The turns of a conversation as a client sends them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from luthier.server.openai.body import MAX_CHARACTERS, Body, Ignored, Unsupported

MAX_PARTS = 256
MAX_TOOLS = 128
_Text = Annotated[str, Field(max_length=MAX_CHARACTERS)]
_CallId = Annotated[str, Field(min_length=1, max_length=200)]


class TextPart(Body):
    type: Literal["text"]
    text: _Text

    @model_validator(mode="before")
    @classmethod
    def _only_text(cls, value: Any) -> Any:
        kind = value.get("type") if isinstance(value, dict) else None
        if isinstance(kind, str) and kind != "text":
            raise PydanticCustomError(
                "unsupported_content",
                "a part of type {kind} cannot be read by the models served here; they read text only",
                {"kind": repr(kind[:40])},
            )
        return value


def _parts(value: Any) -> Any:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


_PART_SCHEMA = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": {"type": "string", "maxLength": MAX_CHARACTERS}},
    "required": ["type", "text"],
    "additionalProperties": False,
}
Content = Annotated[
    list[TextPart],
    Field(min_length=1, max_length=MAX_PARTS),
    BeforeValidator(_parts),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "maxLength": MAX_CHARACTERS},
                {"type": "array", "minItems": 1, "maxItems": MAX_PARTS, "items": _PART_SCHEMA},
            ]
        }
    ),
]


class CalledFunction(Body):
    name: Annotated[str, Field(min_length=1, max_length=200)]
    arguments: _Text


class ToolCall(Body):
    id: _CallId
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(Body):
    """One turn. `refusal` and `annotations` are in the messages that OpenAI answers with, and may come back."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | None = None
    name: Annotated[str, Field(max_length=200)] | None = None
    tool_calls: Annotated[list[ToolCall], Field(min_length=1, max_length=MAX_TOOLS)] | None = None
    tool_call_id: _CallId | None = None
    refusal: Ignored = None
    annotations: Ignored = None
    audio: Unsupported = None
    function_call: Unsupported = None

    def plain(self) -> dict[str, Any]:
        """The turn as `data.openai_chat` reads it."""
        text = None if self.content is None else "".join(part.text for part in self.content)
        calls = None if self.tool_calls is None else [call.model_dump() for call in self.tool_calls]
        found = {
            "role": self.role,
            "content": text,
            "name": self.name,
            "tool_calls": calls,
            "tool_call_id": self.tool_call_id,
        }
        return {name: value for name, value in found.items() if value is not None}
