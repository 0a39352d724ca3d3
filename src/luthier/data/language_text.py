"""Conversations and completions as readable text: for people, and to find rows that say the same."""

from __future__ import annotations

import json
from collections.abc import Iterator

from luthier.core.conversation import Completion, Conversation, Message

INSTRUCTING = ("system", "developer")
Language = Conversation | Completion


def _line(message: Message) -> str:
    calls = "".join(f" {call['function']['name']}({call['function']['arguments']})" for call in message.tool_calls)
    return f"{message.role}: {message.content}{calls}"


def _lines(conversation: Conversation) -> str:
    return "\n".join(map(_line, conversation.messages))


def question_text(conversation: Conversation) -> str:
    """What is asked, for people: without instructions that many rows share, and of a single turn only its text."""
    asked = [message for message in conversation.question().messages if message.role not in INSTRUCTING]
    if len(asked) == 1:
        return asked[0].content
    if not asked:  # the assistant speaks first
        return whole_text(conversation)
    return _lines(Conversation(tuple(asked)))


def asked_text(target: Language) -> str:
    """All that the model is given, instructions included; what follows an empty prompt counts as asked."""
    if isinstance(target, Completion):
        return target.prompt if target.prompt.strip() else target.completion
    question = target.question()
    return _lines(question) if question.messages else _lines(target)


def answer_text(target: Language) -> str:
    """What is learned last."""
    if isinstance(target, Completion):
        return target.completion
    return _line(target.messages[target.trained[-1]]).removeprefix("assistant: ") if target.trained else ""


def whole_text(target: Language) -> str:
    """Question and answer."""
    if isinstance(target, Completion):
        return "\x1f".join((target.prompt, target.completion, target.suffix or ""))
    return _lines(target)


def texts_of(target: Language) -> Iterator[tuple[str, str]]:
    """Each text with its name: the column of a completion, ``message 2 (user)`` of a conversation."""
    if isinstance(target, Completion):
        answer = "completion" if target.prompt else "text"
        for name, text in (("prompt", target.prompt), (answer, target.completion), ("suffix", target.suffix)):
            if text:
                yield name, text
        return
    for number, message in enumerate(target.messages, 1):
        if message.content:
            yield f"message {number} ({message.role})", message.content
        for call in message.tool_calls:
            yield f"message {number} (arguments of {call['function']['name']})", call["function"]["arguments"]
    if target.tools:
        yield "tools", json.dumps(target.tools, ensure_ascii=False)
