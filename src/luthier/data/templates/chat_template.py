"""A base model's chat template, rendered as transformers 5 renders it, with jinja2 alone.

The environment is that of ``transformers.utils.chat_template_utils``: sandboxed and immutable (a template
comes from whoever published the model), with ``trim_blocks`` and ``lstrip_blocks``, loop controls, a
``tojson`` that does not escape HTML, ``raise_exception``, ``strftime_now`` and the ``{% generation %}`` tag.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from luthier.core import clock
from luthier.core.conversation import Conversation, Message
from luthier.core.errors import DataError


@dataclass(slots=True)
class _Track:
    """What was written so far, and where the ``{% generation %}`` blocks were."""

    blocks: list[str]
    spans: list[tuple[int, int]]


_TRACK: ContextVar[_Track] = ContextVar("_TRACK")  # a template may be rendered by several threads at once


class _Generation(Extension):
    """``{% generation %}...{% endgeneration %}``: what the assistant wrote."""

    tags = {"generation"}  # noqa: RUF012 - so declared by jinja2

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Callable[[], str]) -> str:
        track = _TRACK.get()
        start = sum(map(len, track.blocks))
        written = caller()
        track.spans.append((start, start + len(written)))
        return written


class _PlainNamespace(Namespace):
    """No underscore attributes, which could lead out of the sandbox."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, values = args[0], dict(*args[1:], **kwargs)
        for name in values:
            _refuse_underscore(name)
        Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_underscore(name)
        Namespace.__setitem__(self, name, value)


class _Dict:
    """The two ways to make a dict, and none to reach its class."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


def _refuse_underscore(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace cannot hold {name!r}")


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _now(form: str) -> str:
    return clock.now().astimezone().strftime(form)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals.update(
        raise_exception=_raise, strftime_now=_now, dict=_Dict(), namespace=_PlainNamespace
    )
    return environment


class ChatTemplate:
    """A Jinja source and the special tokens that it may name.

    Raises `DataError` for a source that is not a template.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        self.source = source
        self.special_tokens = dict(special_tokens)
        try:
            self._template = _environment().from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise DataError(
                f"the chat template has an error in its line {error.lineno}: {error.message}.",
                remedy="Correct it, or leave data.template out to take the base model's own.",
                code="broken_template",
                param="data.template",
            ) from None

    @property
    def dated(self) -> bool:
        """Whether today's date may be a part of what it writes."""
        return "strftime_now" in self.source

    def messages(self, conversation: Conversation) -> list[dict[str, Any]]:
        """The turns as templates expect them: arguments of tool calls as objects, not as JSON text, and
        developer turns as system turns where the template knows no developer."""
        knows_developer = "developer" in self.source
        found = []
        for message in conversation.messages:
            values = message.to_dict()
            if message.role == "developer" and not knows_developer:
                values["role"] = "system"
            if message.tool_calls:
                values["tool_calls"] = [_with_parsed_arguments(call) for call in message.tool_calls]
            found.append(values)
        return found

    def render(
        self,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[dict[str, Any]] = (),
        *,
        add_generation_prompt: bool = False,
        where: str = "",
    ) -> str:
        """The text of a conversation; with `add_generation_prompt` up to where the assistant's answer begins."""
        return self.render_marked(messages, tools, add_generation_prompt=add_generation_prompt, where=where)[0]

    def render_marked(
        self,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[dict[str, Any]] = (),
        *,
        add_generation_prompt: bool = False,
        where: str = "",
    ) -> tuple[str, list[tuple[int, int]]]:
        """The text, and (start, end) of its ``{% generation %}`` blocks in characters.

        Raises `DataError` where the template refuses the conversation.
        """
        track = _Track([], [])
        token = _TRACK.set(track)
        try:
            for block in self._template.generate(
                **self.special_tokens,
                messages=list(messages),
                tools=list(tools) or None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
            ):
                track.blocks.append(block)
        except (jinja2.TemplateError, TypeError) as error:
            raise DataError(
                f"the chat template refuses this conversation: {str(error).strip().rstrip('.')}.",
                where=where,
                remedy="Change the turns so that the base model's template takes them, or give data.template.",
                code="template_refuses",
                param="data.template",
            ) from None
        finally:
            _TRACK.reset(token)
        return "".join(track.blocks), track.spans


def plain_turn(role: str, content: str) -> dict[str, Any]:
    """One turn without anything else, as templates read it."""
    return Message(role, content).to_dict()


def _with_parsed_arguments(call: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAI writes arguments as JSON text; templates write them with ``tojson`` and would quote that again."""
    function = call.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("arguments"), str):
        return dict(call)
    try:
        arguments = json.loads(function["arguments"] or "{}")
    except json.JSONDecodeError:
        arguments = function["arguments"]
    return {**call, "function": {**function, "arguments": arguments}}
