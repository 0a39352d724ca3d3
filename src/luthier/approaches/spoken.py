"""Calls and their results in words, for a model that has no tool calls of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.approaches.actions import Action
from luthier.core.conversation import Message


def spoken_turns(turns: Sequence[Message], actions: Mapping[str, Action] | None = None) -> tuple[Message, ...]:
    """Turns for a model without tool calls: results are told by the user, and the actions stand in the instructions."""
    found: list[Message] = []
    for turn in turns:
        if turn.role == "tool":
            found.append(Message("user", f"Result: {turn.content}"))
        elif turn.tool_calls:
            asked = [call.get("function") or {} for call in turn.tool_calls]
            told = ", ".join(f"{one.get('name')} with {one.get('arguments')}" for one in asked)
            found.append(Message("assistant", turn.content or f"(asks for {told})"))
        else:
            found.append(turn)
    if actions:
        listed = "\n".join(
            f"- {one.name}: {one.description} Arguments: {json.dumps(one.parameters)}" for one in actions.values()
        )
        text = (
            f'Answer with JSON: {{"answer": "..."}}, or {{"action": NAME, "arguments": {{...}}}}.\nActions:\n{listed}'
        )
        if found and found[0].role == "system":
            found[0] = Message("system", f"{found[0].content}\n\n{text}")
        else:
            found.insert(0, Message("system", text))
    return tuple(found)


def choice_of(actions: Mapping[str, Action]) -> dict[str, Any]:
    """The JSON schema of an answer, or of a call of one of `actions`."""
    answers: list[dict[str, Any]] = [
        {
            "type": "object",
            "properties": {"answer": {"type": "string"}},
            "required": ["answer"],
            "additionalProperties": False,
        }
    ]
    answers += [
        {
            "type": "object",
            "properties": {"action": {"const": action.name}, "arguments": action.parameters},
            "required": ["action", "arguments"],
            "additionalProperties": False,
        }
        for action in actions.values()
    ]
    return {"anyOf": answers}
