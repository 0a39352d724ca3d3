"""Conversations as others write them: Vertex ``contents``, ShareGPT ``conversations``, Alpaca instructions.

Vertex: Google's "Prepare supervised fine-tuning data". ShareGPT: the export format that Vicuna's training
code reads (lm-sys/FastChat). Alpaca: the two prompts of tatsu-lab/stanford_alpaca, ``train.py``.
"""

from __future__ import annotations

import json
from typing import Any

from luthier.core.conversation import Message
from luthier.core.errors import nearest
from luthier.data.openai_chat import check_tools, join_parts, parse_openai
from luthier.data.targets import Wrong, kind

ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
)
ALPACA = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:"
)
VERTEX_ROLES = {"user": "user", "model": "assistant", "system": "system"}
SHAREGPT_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "observation": "tool",
    "function_response": "tool",
}


def alpaca_prompt(instruction: str, extra: str) -> str:
    """The published prompt, with and without an input."""
    if extra:
        return ALPACA_WITH_INPUT.format(instruction=instruction, input=extra)
    return ALPACA.format(instruction=instruction)


def parse_messages(items: list[Any], column: str) -> tuple[Message, ...]:
    """Messages in any of the formats, told apart by the fields of the first one; raises `Wrong`."""
    if not items:
        raise Wrong("empty_messages", f"{column!r} holds no message.", "Write the conversation or leave the row out.")
    first = items[0] if isinstance(items[0], dict) else {}
    if first.get("parts") is not None:
        return tuple(_vertex(item, f"content {number}") for number, item in enumerate(items, 1))
    if first.get("from") is not None and first.get("role") is None:
        return _sharegpt(items)
    return parse_openai(items)


def parse_system(value: Any, column: str) -> str:
    """A text, or Vertex's ``{"parts": [{"text": ...}]}``, also as JSON text."""
    if isinstance(value, str) and value.lstrip().startswith('{"'):
        try:
            value = json.loads(value)
        except ValueError:
            raise Wrong("not_json", f"{column!r} begins like JSON but is not.", "Write it as plain text.") from None
    if isinstance(value, dict):
        return _parts(value, repr(column))
    return join_parts(value, repr(column))


def _parts(item: dict[str, Any], place: str) -> str:
    parts = item.get("parts")
    if isinstance(parts, dict):
        parts = [parts]
    if not isinstance(parts, list) or not parts:
        raise Wrong("missing_content", f"{place} has no parts.", 'Write "parts": [{"text": "..."}].')
    texts = []
    for part in parts:
        part = {name: value for name, value in part.items() if value is not None} if isinstance(part, dict) else {}
        if not isinstance(part.get("text"), str) or len(part) != 1:
            names = ", ".join(name for name in part if name != "text") or "no text"
            raise Wrong(
                "unsupported_content",
                f"a part of {place} holds {names}; only text is learned.",
                'Write {"text": "..."}; write conversations with function calls in OpenAI\'s format.',
            )
        texts.append(part["text"])
    return "".join(texts)


def _vertex(item: Any, place: str) -> Message:
    if not isinstance(item, dict):
        raise Wrong("wrong_type", f"{place} is {kind(item)}, not an object.", 'Write {"role": "user", "parts": [...]}.')
    role = item.get("role", "user")
    unknown = sorted(name for name, value in item.items() if name not in ("role", "parts") and value is not None)
    if unknown:
        message = f"{place} has the field {unknown[0]!r}, which would not be learned."
        raise Wrong("unknown_field", message, "Remove it or correct its name; role and parts are known.")
    if not isinstance(role, str) or role not in VERTEX_ROLES:
        raise Wrong("unknown_role", f"{place} has the role {role!r}, which there is not.", "Write user or model.")
    text = _parts(item, place)
    if not text.strip():
        code = "empty_answer" if role == "model" else "empty_text"
        raise Wrong(code, f"{place} ({role}) is empty.", "Write a text or leave the row out.")
    return Message(VERTEX_ROLES[role], text)


def _sharegpt(items: list[Any]) -> tuple[Message, ...]:
    found: list[Message] = []
    opened: list[str] = []  # calls that wait for their answer, in order
    for number, item in enumerate(items, 1):
        place = f"turn {number}"
        if not isinstance(item, dict) or not isinstance(item.get("from"), str):
            raise Wrong("missing_role", f"{place} has no 'from'.", 'Write {"from": "human", "value": "..."}.')
        speaker = item["from"].strip().lower()
        if speaker not in SHAREGPT_ROLES:
            remedy = nearest(speaker, SHAREGPT_ROLES)
            raise Wrong("unknown_role", f"{place} is from {item['from'][:40]!r}, who is not known.", remedy)
        role, value = SHAREGPT_ROLES[speaker], item.get("value")
        if not isinstance(value, str):
            raise Wrong("wrong_type", f"the value of {place} is {kind(value)}, not a text.", "Write it in quotes.")
        if not value.strip() and role in ("user", "assistant"):
            code = "empty_answer" if role == "assistant" else "empty_text"
            raise Wrong(code, f"{place} ({speaker}) is empty.", "Write a text or leave the row out.")
        weight = item.get("weight")
        if weight not in (None, 0, 1) or isinstance(weight, bool):
            raise Wrong("bad_weight", f"the weight of {place} is {str(weight)[:40]}, not 0 or 1.", "Write 0 or 1.")
        learned = 1.0 if weight is None else float(weight)
        if speaker == "function_call":
            calls = _calls(value, place, len(found))
            opened += [call["id"] for call in calls]
            found.append(Message(role, "", None, calls, None, learned))
        elif role == "tool":
            found.append(Message(role, value, None, (), opened.pop(0) if opened else None))
        else:
            found.append(Message(role, value, weight=learned))
    messages = tuple(found)
    check_tools(messages)
    return messages


def _calls(value: str, place: str, number: int) -> tuple[dict[str, Any], ...]:
    """``{"name", "arguments"}`` or a list of such, as JSON text."""
    try:
        calls = json.loads(value)
    except (ValueError, RecursionError):
        calls = None
    calls = calls if isinstance(calls, list) else [calls]
    found = []
    for k, call in enumerate(calls):
        arguments = call.get("arguments", {}) if isinstance(call, dict) else None
        if not isinstance(arguments, dict) or not isinstance(call.get("name"), str):
            raise Wrong(
                "bad_tool_call",
                f"{place} is a function_call without name and arguments in JSON.",
                'Write {"name": "...", "arguments": {...}}.',
            )
        function = {"name": call["name"], "arguments": json.dumps(arguments, ensure_ascii=False)}
        found.append({"id": f"call_{number}_{k}", "type": "function", "function": function})
    return tuple(found)
