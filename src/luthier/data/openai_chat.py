"""OpenAI's chat format: a list of messages, read strictly, so that nothing in it is silently left out.

Fields and rules as in OpenAI's API reference for fine-tuning (``messages``, ``tools``) and its guide to
function calling. `like OpenAI` goes further in `data.checks.openai_rules`.
"""

from __future__ import annotations

import json
from typing import Any

from luthier.core.conversation import ROLES, Conversation, Message
from luthier.core.errors import nearest
from luthier.data.targets import Wrong, kind

FIELDS = ("role", "content", "name", "weight", "tool_calls", "tool_call_id")
LEGACY = {"function_call": "tool_calls", "functions": "tools"}
_ARGUMENTS = 'Write the arguments as a JSON object in a text: "{\\"city\\": \\"Rome\\"}".'


def as_list(value: Any, column: str, what: str) -> list[Any]:
    """A list, or a list written as JSON text in a cell."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise Wrong("not_json", f"{column!r} is a text that is no JSON.", f"Write {what} as a JSON list.") from None
    if not isinstance(value, list):
        raise Wrong("wrong_type", f"{column!r} is {kind(value)}, not a list.", f"Write {what} as a list.")
    return value


def parse_openai(messages: list[Any]) -> tuple[Message, ...]:
    """Messages as OpenAI writes them; raises `Wrong`."""
    found = tuple(_message(item, f"message {number}") for number, item in enumerate(messages, 1))
    check_tools(found)
    return found


def _message(item: Any, place: str) -> Message:
    if not isinstance(item, dict):
        raise Wrong(
            "wrong_type", f"{place} is {kind(item)}, not an object.", 'Write {"role": "user", "content": "..."}.'
        )
    item = {name: value for name, value in item.items() if value is not None}
    role = item.get("role")
    if role is None:
        raise Wrong("missing_role", f"{place} has no role.", "Give it one of " + ", ".join(ROLES) + ".")
    if role not in ROLES:
        hint = nearest(role, ROLES) if isinstance(role, str) else "Known: " + ", ".join(ROLES) + "."
        raise Wrong("unknown_role", f"{place} has the role {role!r}, which there is not.", hint)
    _check_fields(item, role, place)
    calls = _calls(item.get("tool_calls"), place)
    name, call_id = item.get("name"), item.get("tool_call_id")
    if name is not None and not isinstance(name, str):
        raise Wrong("wrong_type", f"the name of {place} is {kind(name)}, not a text.", "Write it in double quotes.")
    if role == "tool" and not (isinstance(call_id, str) and call_id):
        raise Wrong(
            "missing_tool_call_id",
            f"{place} is a tool's answer without tool_call_id.",
            "Name the call that it answers, as in the assistant's tool_calls.",
        )
    return Message(role, _content(item, role, place), name, calls, call_id, _weight(item, role, place))


def _check_fields(item: dict[str, Any], role: str, place: str) -> None:
    for name in item:
        if name in LEGACY:
            raise Wrong("legacy_function_call", f"{place} has the old {name!r}.", f"Write {LEGACY[name]} instead.")
        if name not in FIELDS:
            remedy = f"{nearest(name, FIELDS)} Remove it or correct its name."
            raise Wrong("unknown_field", f"{place} has the field {name!r}, which would not be learned.", remedy)
    for name, owner in (("tool_calls", "assistant"), ("weight", "assistant"), ("tool_call_id", "tool")):
        if name in item and role != owner:
            code = "bad_weight" if name == "weight" else "misplaced_field"
            message = f"{place} has {name!r}, which is for {owner} messages, but its role is {role}."
            raise Wrong(code, message, f"Remove {name!r} from it.")


def _weight(item: dict[str, Any], role: str, place: str) -> float:
    weight = item.get("weight", 1)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or weight not in (0, 1):
        raise Wrong(
            "bad_weight",
            f"the weight of {place} is {str(weight)[:40]}, not 0 or 1.",
            "Write 1 to learn the message, 0 to show it only.",
        )
    return float(weight)


def _content(item: dict[str, Any], role: str, place: str) -> str:
    content = item.get("content")
    if content is None and role == "assistant" and item.get("tool_calls"):
        return ""
    if content is None:
        raise Wrong("missing_content", f"{place} ({role}) has no content.", "Write what it says.")
    text = join_parts(content, place)
    if role == "user" and not text.strip():
        raise Wrong("empty_text", f"{place} (user) is empty.", "Write what was asked or leave the row out.")
    if role == "assistant" and not text.strip() and not item.get("tool_calls"):
        raise Wrong("empty_answer", f"{place} (assistant) is empty.", "Write the answer or leave the row out.")
    return text


def join_parts(content: Any, place: str) -> str:
    """A text, or parts of type text, joined."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise Wrong(
            "wrong_type", f"the content of {place} is {kind(content)}, not a text.", "Write it in double quotes."
        )
    texts = []
    for part in content:
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            message = f"the content of {place} holds {kind(part)}, not a part with a type."
            raise Wrong("wrong_type", message, 'Write {"type": "text", "text": "..."}.')
        if part["type"] != "text":
            raise Wrong(
                "unsupported_content",
                f"the content of {place} has a part of type {part['type']!r}; only text is learned.",
                "Leave the row out, or put into words what the part shows.",
            )
        if not isinstance(part.get("text"), str):
            raise Wrong("wrong_type", f"a text part of {place} has no text.", 'Write {"type": "text", "text": "..."}.')
        texts.append(part["text"])
    return "".join(texts)


def _calls(value: Any, place: str) -> tuple[dict[str, Any], ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not value:
        message = f"the tool_calls of {place} are no list of calls."
        raise Wrong("bad_tool_call", message, "Write a list of calls, or leave the field out.")
    return tuple(_call(item, place) for item in value)


def _call(item: Any, place: str) -> dict[str, Any]:
    function = item.get("function") if isinstance(item, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise Wrong(
            "bad_tool_call",
            f"a tool call of {place} names no function.",
            'Write {"id": "call_1", "type": "function", "function": {"name": "...", "arguments": "{}"}}.',
        )
    if item.get("type", "function") != "function":
        raise Wrong("bad_tool_call", f"a tool call of {place} is of type {item['type']!r}.", 'The type is "function".')
    if not isinstance(item.get("id"), str) or not item["id"]:
        raise Wrong(
            "missing_tool_call_id",
            f"the call of {function['name']!r} in {place} has no id.",
            "Give each call an id of its own, and name it in the tool's answer.",
        )
    arguments = _arguments(function.get("arguments"), function["name"], place)
    return {"id": item["id"], "type": "function", "function": {"name": function["name"], "arguments": arguments}}


def _arguments(value: Any, name: str, place: str) -> str:
    """JSON text as it stands; an object, as other tools write it, becomes JSON text."""
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    try:
        plain = json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        plain = None
    if not isinstance(value, str) or not isinstance(plain, dict):
        raise Wrong("bad_arguments", f"the arguments of {name!r} in {place} are no JSON object.", _ARGUMENTS)
    return value


def check_tools(messages: tuple[Message, ...]) -> None:
    """Each call is answered before the next turn (unless the conversation ends with it), each answer has its call."""
    waiting: dict[str, int] = {}
    for number, turn in enumerate(messages, 1):
        if turn.role == "tool" and turn.tool_call_id is not None:
            if waiting.pop(turn.tool_call_id, None) is None:
                raise Wrong(
                    "tool_answer_without_call",
                    f"message {number} answers the call {turn.tool_call_id[:40]!r}, which is not open here.",
                    "Put it right after the assistant message with that call, once.",
                )
            continue
        if waiting:
            name, at = next(iter(waiting.items()))
            raise Wrong(
                "tool_call_without_answer",
                f"the call {name[:40]!r} of message {at} is not answered before message {number}.",
                "Add a tool message with its tool_call_id.",
            )
        for call in turn.tool_calls:
            if call["id"] in waiting:
                message = f"message {number} has two calls {call['id'][:40]!r}."
                raise Wrong("duplicate_tool_call", message, "Give each call an id of its own.")
            waiting[call["id"]] = number
    if waiting and messages[-1].role == "tool":
        raise Wrong(
            "tool_call_without_answer",
            f"the call {next(iter(waiting))[:40]!r} is not answered.",
            "Add a tool message with its tool_call_id.",
        )


def parse_tools(value: Any, column: str = "tools") -> tuple[dict[str, Any], ...]:
    """OpenAI's ``tools``: functions with a name of their own."""
    if value is None or value in ("", []):
        return ()
    tools = as_list(value, column, "the tools")
    for number, tool in enumerate(tools, 1):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
            raise Wrong(
                "bad_tool",
                f"tool {number} is no function with a name.",
                'Write {"type": "function", "function": {"name": "...", "parameters": {...}}}.',
            )
    return tuple(tools)


def check_known_tools(conversation: Conversation) -> None:
    """Where tools are listed, only those are called."""
    names = {tool["function"]["name"] for tool in conversation.tools}
    for number, message in enumerate(conversation.messages, 1):
        for call in message.tool_calls:
            if names and call["function"]["name"] not in names:
                called = call["function"]["name"]
                remedy = f"{nearest(called, names)} Add it to tools or correct the name."
                raise Wrong("unknown_tool", f"message {number} calls {called!r}, which is not in tools.", remedy)
