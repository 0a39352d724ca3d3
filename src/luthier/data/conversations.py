"""A row of a generative data set: a conversation, or a prompt and how it goes on."""

from __future__ import annotations

from typing import Any

from luthier.core.conversation import Completion, Conversation, Message
from luthier.data.columns import Columns
from luthier.data.conversation_formats import alpaca_prompt, parse_messages, parse_system
from luthier.data.formats.base import Row
from luthier.data.language_text import INSTRUCTING, question_text
from luthier.data.openai_chat import LEGACY, as_list, check_known_tools, parse_tools
from luthier.data.targets import Wrong, kind


def language_target(
    row: Row, columns: Columns, task: str, *, require_target: bool = True
) -> tuple[str, Conversation | Completion]:
    """(question as readable text, target) of a row.

    With `require_target` a conversation ends with an assistant turn that carries weight, and a
    completion is not empty. Without it, what is there is kept: a conversation that ends with a user or
    tool turn, a completion of "".

    Raises:
        Wrong: the first thing that is wrong with the row.
    """
    if columns.column("messages"):
        conversation = _conversation(row, columns)
    elif columns.column("instruction"):
        instruction, extra = _text(row, columns, "instruction"), _text(row, columns, "input", empty=True)
        question = f"{instruction}\n\n{extra}" if extra.strip() else instruction
        answer = _answer(row, columns, "output", require_target)
        if task == "complete":
            return question, Completion(alpaca_prompt(instruction, extra if extra.strip() else ""), answer)
        conversation = _two_turns(row, columns, question, answer)
    elif columns.column("prompt"):
        if task == "chat":
            conversation = _prompted(row, columns, require_target)
        else:
            prompt = _text(row, columns, "prompt", empty=True)
            completion = _answer(row, columns, "completion", require_target)
            suffix = _text(row, columns, "suffix", empty=True) if columns.column("suffix") else None
            return prompt if prompt.strip() else completion, Completion(prompt, completion, suffix)
    else:
        text = _text(row, columns, "text")
        return text, Completion("", text) if require_target else Completion(text, "")
    check_known_tools(conversation)
    conversation = _to_learn(conversation) if require_target else conversation
    return question_text(conversation), conversation


def _conversation(row: Row, columns: Columns) -> Conversation:
    column = columns.column("messages") or ""
    for name, now in LEGACY.items():
        if row.values.get(name) is not None:
            raise Wrong("legacy_function_call", f"this row has the old {name!r}.", f"Write {now} instead.")
    messages = parse_messages(as_list(_value(row, column), column, "the messages"), column)
    return Conversation((*_system(row, columns, messages), *messages), _tools(row, columns))


def _tools(row: Row, columns: Columns) -> tuple[dict[str, Any], ...]:
    column = columns.column("tools")
    return () if column is None else parse_tools(row.values.get(column), column)


def _system(row: Row, columns: Columns, messages: tuple[Message, ...] = ()) -> tuple[Message, ...]:
    """The system prompt of a column of its own."""
    column = columns.column("system")
    value = None if column is None else row.values.get(column)
    if column is None or value in (None, ""):
        return ()
    if messages and messages[0].role in INSTRUCTING:
        raise Wrong(
            "two_system_prompts",
            f"{column!r} holds a system prompt, and the conversation begins with another one.",
            "Keep one of them.",
        )
    return (Message("system", parse_system(value, column)),)


def _two_turns(row: Row, columns: Columns, question: str, answer: str) -> Conversation:
    turns = (*_system(row, columns), Message("user", question))
    return Conversation((*turns, Message("assistant", answer)) if answer else turns)


def _prompted(row: Row, columns: Columns, require_target: bool) -> Conversation:
    """Prompt and completion as texts, or each as a list of messages."""
    prompt, completion = columns.column("prompt") or "", columns.column("completion")
    value = _value(row, prompt)
    if not isinstance(value, list):
        question = _text(row, columns, "prompt")
        return _two_turns(row, columns, question, _answer(row, columns, "completion", require_target))
    answer = [] if completion is None else row.values.get(completion) or []
    if not isinstance(answer, list):
        raise Wrong(
            "wrong_type", f"{prompt!r} is a list, {completion!r} is {kind(answer)}.", "Write both as lists of messages."
        )
    messages = parse_messages([*value, *answer], prompt)
    learned = tuple(
        Message(m.role, m.content, m.name, m.tool_calls, m.tool_call_id, m.weight if number >= len(value) else 0.0)
        if m.role == "assistant"
        else m
        for number, m in enumerate(messages)
    )
    return Conversation(learned, _tools(row, columns))


def _to_learn(conversation: Conversation) -> Conversation:
    """Up to the last turn that is learned; what follows it teaches nothing."""
    messages = conversation.messages
    if not any(message.role == "assistant" for message in messages):
        raise Wrong("no_answer", "no message is of the assistant, so there is nothing to learn.", "Add the answer.")
    trained = conversation.trained
    if not trained:
        raise Wrong(
            "nothing_trained",
            "all assistant messages have weight 0, so there is nothing to learn.",
            "Give at least one of them weight 1, or leave the row out.",
        )
    if messages[-1].role != "assistant":
        raise Wrong(
            "no_last_answer",
            f"the conversation ends with a {messages[-1].role} message, not with the assistant's.",
            "Add the assistant's answer, or remove what follows its last one.",
        )
    return conversation.before(trained[-1] + 1)


def _value(row: Row, column: str) -> Any:
    if column not in row.values:
        there = ", ".join(map(repr, list(row.values)[:20])) or "none"
        raise Wrong("missing_field", f"this row has no {column!r}; it has {there}.", "Add it or leave the row out.")
    value = row.values[column]
    if value is None or value == "":
        raise Wrong("empty_text", f"{column!r} is empty.", "Fill it or leave the row out.")
    return value


def _text(row: Row, columns: Columns, role: str, *, empty: bool = False) -> str:
    """The text of a column; with `empty` it may be missing or empty."""
    column = columns.column(role) or ("text" if role == "text" else "")
    if empty and row.values.get(column) in (None, ""):
        return ""
    value = _value(row, column)
    if not isinstance(value, str):
        raise Wrong("wrong_type", f"{column!r} is {kind(value)}, not a text.", "Write it in double quotes.")
    if not value.strip() and not empty:
        raise Wrong("empty_text", f"{column!r} holds nothing but white space.", "Write a text or leave the row out.")
    return value


def _answer(row: Row, columns: Columns, role: str, require_target: bool) -> str:
    column = columns.column(role)
    if not require_target and (column is None or row.values.get(column) in (None, "")):
        return ""
    if column is not None and column in row.values and row.values[column] in (None, ""):
        raise Wrong("empty_answer", f"{column!r} is empty.", "Write the answer or leave the row out.")
    try:
        return _text(row, columns, role)
    except Wrong as wrong:
        if wrong.code == "empty_text":
            raise Wrong("empty_answer", wrong.message, wrong.remedy) from None
        raise
