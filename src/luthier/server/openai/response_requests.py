"""What a client may ask of POST /v1/responses, as the chat that it is."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from luthier.server.errors import from_validation
from luthier.server.openai.body import (
    MAX_CHARACTERS,
    Body,
    FunctionName,
    Ignored,
    JsonObject,
    Metadata,
    ModelName,
    Temperature,
    Tokens,
    TopP,
    Unsupported,
)
from luthier.server.openai.chat_messages import MAX_PARTS, MAX_TOOLS
from luthier.server.openai.chat_requests import MAX_MESSAGES, ChatRequest, refused

_Text = Annotated[str, Field(max_length=MAX_CHARACTERS)]
_ItemId = Annotated[str, Field(min_length=1, max_length=200)]
_STATELESS = "This server keeps no responses."


def _items(value: Any) -> Any:
    return [{"type": "message", "role": "user", "content": value}] if isinstance(value, str) else value


def _parts(value: Any) -> Any:
    return [{"type": "input_text", "text": value}] if isinstance(value, str) else value


class ResponsePart(Body):
    """Text that went in or came out; what OpenAI adds to it when it comes out may come back."""

    type: Literal["input_text", "output_text", "text"]
    text: _Text
    annotations: Ignored = None
    logprobs: Ignored = None
    prompt_cache_breakpoint: Ignored = None

    @model_validator(mode="before")
    @classmethod
    def _only_text(cls, value: Any) -> Any:
        kind = value.get("type") if isinstance(value, dict) else None
        if isinstance(kind, str) and kind not in ("input_text", "output_text", "text"):
            raise PydanticCustomError(
                "unsupported_content",
                "a part of type {kind} cannot be read by the models served here; they read text only",
                {"kind": repr(kind[:40])},
            )
        return value


class InputItem(Body):
    """A message, a call that the model made, or its result."""

    type: Literal["message", "function_call", "function_call_output"] = "message"
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: (
        Annotated[
            list[ResponsePart],
            Field(min_length=1, max_length=MAX_PARTS),
            BeforeValidator(_parts),
            WithJsonSchema(
                {
                    "anyOf": [
                        {"type": "string", "maxLength": MAX_CHARACTERS},
                        {"type": "array", "minItems": 1, "maxItems": MAX_PARTS, "items": {"type": "object"}},
                    ]
                }
            ),
        ]
        | None
    ) = None
    id: _ItemId | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None
    phase: Ignored = None
    call_id: _ItemId | None = None
    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    arguments: _Text | None = None
    output: _Text | None = None

    @model_validator(mode="after")
    def _whole(self) -> InputItem:
        needed = {
            "message": ("role", "content"),
            "function_call": ("call_id", "name", "arguments"),
            "function_call_output": ("call_id", "output"),
        }[self.type]
        for name in needed:
            if getattr(self, name) is None:
                raise PydanticCustomError(
                    "missing_field", "an item of type '{kind}' needs '{name}'", {"kind": self.type, "name": name}
                )
        return self


class ResponseTool(Body):
    """A function of the client's. OpenAI's own tools (web search, files, computers) are not here."""

    type: Literal["function"]
    name: FunctionName
    description: Annotated[str, Field(max_length=20_000)] | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _only_functions(cls, value: Any) -> Any:
        kind = value.get("type") if isinstance(value, dict) else None
        if isinstance(kind, str) and kind != "function":
            raise PydanticCustomError(
                "unsupported_tool",
                "the tool {kind} is OpenAI's own and is not here; give functions that your program runs",
                {"kind": repr(kind[:40])},
            )
        return value


class ResponseToolChoice(Body):
    type: Literal["auto", "none", "required", "function"]
    name: FunctionName | None = None


class TextFormat(Body):
    type: Literal["text", "json_object", "json_schema"]
    name: FunctionName | None = None
    description: Annotated[str, Field(max_length=20_000)] | None = None
    schema_: Annotated[JsonObject | None, Field(alias="schema")] = None
    strict: bool | None = None

    @model_validator(mode="after")
    def _whole(self) -> TextFormat:
        if self.type == "json_schema" and (self.name is None or self.schema_ is None):
            raise PydanticCustomError("text_format", "a format of type 'json_schema' needs 'name' and 'schema'")
        return self


class TextOptions(Body):
    format: TextFormat | None = None
    verbosity: Unsupported = None


class ResponseStreamOptions(Body):
    include_obfuscation: bool | None = None


class ResponseRequest(Body):
    """OpenAI's fields. What is `Ignored` changes no answer; what is `Unsupported` would, and is refused."""

    model: ModelName
    input: Annotated[
        list[InputItem],
        Field(min_length=1, max_length=MAX_MESSAGES),
        BeforeValidator(_items),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string", "maxLength": MAX_CHARACTERS},
                    {"type": "array", "minItems": 1, "maxItems": MAX_MESSAGES, "items": {"type": "object"}},
                ]
            }
        ),
    ]
    instructions: _Text | None = None
    max_output_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    include: Annotated[list[Literal["message.output_text.logprobs"]], Field(max_length=1)] | None = None
    text: TextOptions | None = None
    tools: Annotated[list[ResponseTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: (
        Annotated[
            ResponseToolChoice, BeforeValidator(lambda value: {"type": value} if isinstance(value, str) else value)
        ]
        | None
    ) = None
    parallel_tool_calls: bool | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    metadata: Metadata | None = None
    store: bool | None = None
    truncation: Literal["disabled"] | None = None
    user: Annotated[str, Field(max_length=512)] | None = None
    previous_response_id: Annotated[str, Field(max_length=200)] | None = None
    conversation: Ignored = None
    background: bool | None = None
    service_tier: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Ignored = None
    max_tool_calls: Unsupported = None
    moderation: Unsupported = None
    prompt: Unsupported = None
    reasoning: Unsupported = None
    context_management: Unsupported = None

    @property
    def wants_logprobs(self) -> bool:
        """Log-probabilities are asked for by either of OpenAI's two fields."""
        return self.top_logprobs is not None or bool(self.include)

    def chat(self) -> ChatRequest:
        """The same as a chat; raises `ApiError` for what needs responses that are kept."""
        if self.previous_response_id is not None or self.conversation is not None:
            name = "conversation" if self.previous_response_id is None else "previous_response_id"
            raise refused(_STATELESS, name, "Send the messages so far as input.", "unsupported_parameter")
        if self.background:
            raise refused(_STATELESS, "background", "Wait for the answer, or stream it.", "unsupported_parameter")
        choice = self.tool_choice
        if choice is not None and choice.type != "function" and not self.tools:
            choice = None  # responses come back with "auto" in them, with and without tools
        values: dict[str, Any] = {
            "model": self.model,
            "messages": self._messages(),
            "max_completion_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "logprobs": self.wants_logprobs,
            "top_logprobs": self.top_logprobs if self.wants_logprobs else None,
            "tools": [self._tool(tool) for tool in self.tools] if self.tools else None,
            "tool_choice": None if choice is None else _chat_choice(choice),
            "parallel_tool_calls": self.parallel_tool_calls,
            "response_format": self._format(),
        }
        try:
            return ChatRequest.model_validate(values)
        except ValidationError as error:  # too much, once instructions and parts are put together
            raise from_validation([{**one, "loc": ("body", *one["loc"])} for one in error.errors()]) from None

    def _messages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        if self.instructions:
            found.append({"role": "system", "content": self.instructions})
        for item in self.input:
            if item.type == "message":
                text = "".join(part.text for part in item.content or [])
                found.append({"role": item.role, "content": text})
            elif item.type == "function_call":
                function = {"name": item.name, "arguments": item.arguments}
                call = {"id": item.call_id, "type": "function", "function": function}
                if found and found[-1]["role"] == "assistant":  # text and calls of one answer are one turn
                    found[-1].setdefault("tool_calls", []).append(call)
                else:
                    found.append({"role": "assistant", "tool_calls": [call]})
            else:
                found.append({"role": "tool", "tool_call_id": item.call_id, "content": item.output})
        return found

    @staticmethod
    def _tool(tool: ResponseTool) -> dict[str, Any]:
        return {"type": "function", "function": tool.model_dump(exclude={"type"}, exclude_none=True)}

    def _format(self) -> dict[str, Any] | None:
        wanted = None if self.text is None else self.text.format
        if wanted is None or wanted.type != "json_schema":
            return None if wanted is None else {"type": wanted.type}
        return {"type": "json_schema", "json_schema": {"name": wanted.name, "schema": wanted.schema_}}


def _chat_choice(choice: ResponseToolChoice) -> dict[str, Any]:
    if choice.type != "function":
        return {"type": choice.type}
    if choice.name is None:
        raise refused("A tool_choice of type 'function' names no function.", "tool_choice", "Give its name.")
    return {"type": "function", "function": {"name": choice.name}}
