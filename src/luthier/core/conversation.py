"""Conversations and completions: what generative models are asked and what they answer.

The words are OpenAI's chat format, which every other format is read into.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

ROLES = ("system", "developer", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `weight` is read for assistant turns only: 0 = shown but not learned.

    `tool_calls` are OpenAI's: ``{"id", "type": "function", "function": {"name", "arguments"}}`` with the
    arguments as JSON text; `tool_call_id` says which call a tool's answer belongs to.
    """

    role: str
    content: str = ""
    name: str | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    tool_call_id: str | None = None
    weight: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """As chat templates read it; empty keys are left out."""
        found: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.name is not None:
            found["name"] = self.name
        if self.tool_calls:
            found["tool_calls"] = [dict(call) for call in self.tool_calls]
        if self.tool_call_id is not None:
            found["tool_call_id"] = self.tool_call_id
        return found

    def __hash__(self) -> int:
        return hash((self.role, self.content, self.name, json.dumps(self.tool_calls, sort_keys=True), self.weight))


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns in order, and the tools that the assistant may call (OpenAI's ``tools`` entries).

    To train on: ends with an assistant turn that carries weight. To be answered: ends with a user or
    tool turn.
    """

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = field(default=())

    def __hash__(self) -> int:
        return hash((self.messages, json.dumps(self.tools, sort_keys=True)))

    @property
    def trained(self) -> list[int]:
        """Places of the assistant turns that carry weight."""
        return [i for i, m in enumerate(self.messages) if m.role == "assistant" and m.weight > 0]

    def before(self, turn: int) -> Conversation:
        """What stands before message `turn`: what the model is asked."""
        return Conversation(self.messages[:turn], self.tools)

    def question(self) -> Conversation:
        """What stands before the last trained assistant turn (everything where there is none)."""
        trained = self.trained
        return self.before(trained[-1]) if trained else self

    def to_text(self) -> str:
        """For people, and for finding duplicates: ``role: content`` lines."""
        return "\n".join(f"{m.role}: {m.content}" for m in self.messages)


@dataclass(frozen=True, slots=True)
class Completion:
    """A prompt and how it goes on; plain text to learn has an empty prompt.

    `suffix` is what follows the gap, for fill-in-the-middle samples of code.
    """

    prompt: str
    completion: str
    suffix: str | None = None


Prompt = str | Conversation
"""What a generative model is asked: the beginning of a text, or a conversation to be answered."""
