"""Who speaks when: system prompts that some rows lack, and orders that chat templates refuse."""

from __future__ import annotations

import array
import itertools
from collections.abc import Iterator
from typing import Any

from luthier.core.conversation import Conversation
from luthier.core.words import plural
from luthier.data.checks.base import TRAIN, Context
from luthier.data.language_text import INSTRUCTING
from luthier.data.samples import Finding, Sample

MOST = 0.8
"""Share of conversations with a system prompt from which the others are named."""
LEAST = 10
COUNTED = 10_000
"""Different system prompts that are counted."""


class Turns:
    """One finding per row and kind."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rows = self._messages = self._trained = self._calls = self._with_tools = 0
        self._bare = array.array("I")
        self._prompts: set[int] = set()

    def see(self, index: int, sample: Sample) -> None:
        target = sample.target
        if not isinstance(target, Conversation):
            return
        self._order(index, target)
        if self._context.part != TRAIN:
            return
        messages = target.messages
        self._rows += 1
        self._messages += len(messages)
        self._trained += len(target.trained)
        self._with_tools += bool(target.tools)
        self._calls += sum(len(message.tool_calls) for message in messages)
        if messages[0].role not in INSTRUCTING:
            self._bare.append(index)
        elif len(self._prompts) < COUNTED:
            self._prompts.add(hash(messages[0].content))

    def _order(self, index: int, conversation: Conversation) -> None:
        roles = [message.role for message in conversation.messages]
        spoken = [role for role in roles if role not in INSTRUCTING]
        if any(role in INSTRUCTING for role in roles[1:]):
            at = next(k for k, role in enumerate(roles) if k and role in INSTRUCTING) + 1
            self._report(
                index,
                "system_not_first",
                "warning",
                f"message {at} is a {roles[at - 1]} message; many chat templates allow one at the beginning only.",
                "Put all instructions into the first message.",
            )
        if spoken[0] == "assistant":
            self._report(
                index,
                "assistant_first",
                "info",
                "the assistant speaks first; some chat templates refuse that.",
                "Add what it answers to, if there was anything.",
            )
        for number, (one, other) in enumerate(itertools.pairwise(roles), 1):
            if one == other and one in ("user", "assistant"):
                self._report(
                    index,
                    "repeated_role",
                    "warning",
                    f"messages {number} and {number + 1} are both of the {one}; some chat templates refuse that.",
                    "Join them into one message.",
                )
                break

    def _report(self, index: int, code: str, severity: Any, message: str, remedy: str) -> None:
        self._context.report(self._context.table.finding(index, code, severity, message, remedy))

    def finish(self) -> Iterator[Finding]:
        with_system = self._rows - len(self._bare)
        if self._rows < LEAST or with_system < MOST * self._rows:
            return
        for index in self._bare:
            yield self._context.table.finding(
                index,
                "no_system_prompt",
                "info",
                f"this conversation has no system prompt; {with_system:,} of {self._rows:,} have one.",
                "Add the one that the model will be called with, unless it is left out on purpose.",
            )

    def stats(self) -> dict[str, Any]:
        if not self._rows:
            return {}
        return {
            "conversations": {
                "messages": self._messages,
                "trained_turns": self._trained,
                "with_system": self._rows - len(self._bare),
                "system_prompts": len(self._prompts),
                "with_tools": self._with_tools,
                "tool_calls": self._calls,
            }
        }


def describe_turns(stats: dict[str, Any]) -> str:
    """The stats of `Turns` in a line."""
    facts = stats["conversations"]
    rows = stats["parts"][TRAIN]["usable"]
    text = f"{plural(facts['messages'], 'message')}, {plural(facts['trained_turns'], 'answer')} to learn"
    text += f"; system prompt in {facts['with_system']:,} of {rows:,} ({facts['system_prompts']:,} different)"
    return text + (f"; {plural(facts['tool_calls'], 'tool call')}" if facts["tool_calls"] else "")
