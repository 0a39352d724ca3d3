"""What a client may ask of POST /v1/chat/completions, and what the engine is asked then."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from luthier.data.openai_chat import parse_openai
from luthier.data.targets import Wrong
from luthier.server.errors import ApiError
from luthier.server.openai.body import (
    MAX_CHARACTERS,
    Body,
    Choices,
    FunctionName,
    Ignored,
    JsonObject,
    Metadata,
    ModelName,
    SamplingFields,
    StreamOptions,
    Tokens,
    Unsupported,
)
from luthier.server.openai.chat_messages import MAX_TOOLS, ChatMessage
from luthier.server.openai.tool_choice import call_schema

MAX_MESSAGES = 2048


class FunctionTool(Body):
    name: FunctionName
    description: Annotated[str, Field(max_length=20_000)] | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class Tool(Body):
    type: Literal["function"]
    function: FunctionTool

    def plain(self) -> dict[str, Any]:
        """As templates read it: without `strict`, which is about how a call is written, not about what it does."""
        return {"type": "function", "function": self.function.model_dump(exclude_none=True, exclude={"strict"})}


class NamedFunction(Body):
    name: FunctionName


class NamedTool(Body):
    type: Literal["function"]
    function: NamedFunction


class AllowedTools(Body):
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1, max_length=MAX_TOOLS)]


def _choice(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


class ToolChoice(Body):
    """``"auto"``, ``"none"``, ``"required"``, a named function, or some of the tools."""

    type: Literal["auto", "none", "required", "function", "allowed_tools"]
    function: NamedFunction | None = None
    allowed_tools: AllowedTools | None = None

    @model_validator(mode="after")
    def _whole(self) -> ToolChoice:
        for name in ("function", "allowed_tools"):
            if (self.type == name) != (getattr(self, name) is not None):
                raise PydanticCustomError(
                    "tool_choice", "'{name}' stands in a tool_choice of type '{name}', and in no other", {"name": name}
                )
        return self


class JsonSchemaFormat(Body):
    name: FunctionName
    description: Annotated[str, Field(max_length=20_000)] | None = None
    schema_: Annotated[JsonObject | None, Field(alias="schema")] = None
    strict: bool | None = None


class ResponseFormat(Body):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None

    @model_validator(mode="after")
    def _whole(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise PydanticCustomError(
                "response_format", "'json_schema' stands in a format of that type, and in no other"
            )
        return self

    @property
    def answer_schema(self) -> dict[str, Any] | None:
        """What the answer must be; {} is any JSON object."""
        if self.type == "text":
            return None
        return {} if self.json_schema is None else self.json_schema.schema_ or {}


class ChatRequest(SamplingFields):
    """OpenAI's fields. What is `Ignored` changes no answer; what is `Unsupported` would, and is refused."""

    model: ModelName
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    tools: Annotated[list[Tool], Field(min_length=1, max_length=MAX_TOOLS)] | None = None
    tool_choice: Annotated[ToolChoice, BeforeValidator(_choice)] | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    n: Choices | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    modalities: Annotated[list[Literal["text"]], Field(min_length=1, max_length=1)] | None = None
    metadata: Metadata | None = None
    store: bool | None = None
    service_tier: Ignored = None
    prediction: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Ignored = None
    safety_identifier: Ignored = None
    audio: Unsupported = None
    functions: Unsupported = None
    function_call: Unsupported = None
    moderation: Unsupported = None
    reasoning_effort: Unsupported = None
    verbosity: Unsupported = None
    web_search_options: Unsupported = None

    @property
    def choices(self) -> int:
        """How many answers are wanted."""
        return self.n or 1

    @property
    def forced(self) -> bool:
        """Whether the answer must be a tool call."""
        choice = self.tool_choice
        if choice is None:
            return False
        mode = choice.allowed_tools.mode if choice.allowed_tools else choice.type
        return mode in ("required", "function")

    @property
    def shown_tools(self) -> list[dict[str, Any]]:
        """The tools that may be called."""
        choice = self.tool_choice
        if choice is not None and choice.type == "none":
            return []
        return [tool.plain() for tool in self.tools or []]

    def engine_body(self) -> dict[str, Any]:
        """The body of a ``generate``; raises `ApiError` for what does not fit together."""
        messages = [message.plain() for message in self.messages]
        check_messages(messages)
        tools = self._callable()
        sampling = self.sampling(self._max_tokens())
        if self.logprobs:
            sampling["logprobs"] = self.top_logprobs or 0
        schema = None if self.response_format is None else self.response_format.answer_schema
        if self.forced:
            sampling["json_schema"] = call_schema(tools)
        elif schema is not None:
            if tools:
                raise refused(
                    "An answer cannot both follow a response_format and call tools.",
                    "response_format",
                    "Leave one of them out, or set tool_choice to 'none'.",
                )
            sampling["json_schema"] = schema
        body: dict[str, Any] = {"messages": messages, "n": self.choices, "sampling": sampling}
        if tools:
            body |= {"tools": tools, "tool_choice": "required" if self.forced else "auto"}
        check_size(body)
        return body

    def _max_tokens(self) -> int | None:
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise refused("max_tokens is the old name of max_completion_tokens.", "max_tokens", "Give one of them.")
        return self.max_completion_tokens if self.max_tokens is None else self.max_tokens

    def _callable(self) -> list[dict[str, Any]]:
        """The tools that `tool_choice` leaves, after the checks that need several fields."""
        choice, tools = self.tool_choice, self.shown_tools
        if choice is not None and not self.tools:
            raise refused("tool_choice is for requests with tools.", "tool_choice", "Give tools, or leave it out.")
        if self.top_logprobs is not None and not self.logprobs:
            raise refused("top_logprobs is for requests with logprobs.", "top_logprobs", "Set logprobs to true.")
        if self.stream_options is not None and not self.stream:
            raise refused("stream_options is for streams.", "stream_options", "Set stream to true, or leave it out.")
        if self.logit_bias:
            raise refused("logit_bias cannot be applied by this server.", "logit_bias", "Leave it out.")
        names = {tool["function"]["name"] for tool in tools}
        if len(names) != len(tools):
            raise refused("Two tools have the same name.", "tools", "Give each a name of its own.")
        if choice is None or choice.type in ("auto", "none", "required"):
            return tools
        wanted = [choice.function] if choice.function else []
        if choice.allowed_tools:
            wanted = [tool.function for tool in choice.allowed_tools.tools]
        for function in wanted:
            if function.name not in names:
                raise refused(f"There is no tool {function.name!r} in tools.", "tool_choice", "Name one that is.")
        kept = {function.name for function in wanted}
        return [tool for tool in tools if tool["function"]["name"] in kept]


def check_messages(messages: list[dict[str, Any]], param: str = "messages") -> None:
    """Raise `ApiError` where turns do not follow from each other (a tool's answer without its call)."""
    try:
        parse_openai(messages)
    except Wrong as wrong:
        raise refused(wrong.message[:1].upper() + wrong.message[1:], param, wrong.remedy, wrong.code) from None


def check_size(body: dict[str, Any]) -> None:
    """Raise `ApiError` where all texts together are too long for one request."""
    if len(json.dumps(body, ensure_ascii=False)) > MAX_CHARACTERS:
        raise ApiError(413, f"The texts of this request have more than {MAX_CHARACTERS:,} characters together.")


def refused(message: str, param: str, remedy: str, code: str = "invalid_value") -> ApiError:
    """A 400 that says what to do."""
    return ApiError(400, f"{message} {remedy}", param=param, code=code)
