"""OpenAI's own rules for a training file, for those whose data must pass there as well.

After OpenAI's guide to supervised fine-tuning and its API reference ("Chat training format"). What any
data set must keep (roles, weights, tools and their answers) the reader of the rows sees to already;
here is where OpenAI is stricter. ``invalid_n_examples`` is the code that its API gives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from luthier.core.errors import DataError, UsageError, nearest
from luthier.core.recipe import LANGUAGE_TASKS
from luthier.data.checks.base import TRAIN
from luthier.data.dataset import Dataset
from luthier.data.formats import Row, problem
from luthier.data.samples import Finding

LEAST = 10
"""Samples that a training file must have."""
CHAT = ("messages", "tools", "parallel_tool_calls")
LEGACY = ("prompt", "completion")
NAMES = ("openai",)
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
Report = Callable[[Finding], None]


def check_like(like: str | None) -> None:
    """Raises `UsageError` for rules that are not known."""
    if like is not None and like not in NAMES:
        raise UsageError(
            f"there are no rules of {like!r}.", remedy=nearest(like, NAMES), code="unknown_rules", param="like"
        )


def with_lines(report: Report) -> Report:
    """OpenAI's form of message, ``Line 17: ...``, for findings that have a line."""

    def told(finding: Finding) -> None:
        shown = f"Line {finding.line}: {finding.message}" if finding.line else finding.message
        report(replace(finding, message=shown))

    return told


def openai_findings(parts: dict[str, Dataset]) -> Iterator[Finding]:
    """What OpenAI would refuse in rows that are usable here; a second pass over the files.

    Raises:
        DataError: the data are not for a generative task at all.
    """
    train = parts[TRAIN]
    if train.task not in LANGUAGE_TASKS:
        raise DataError(
            f"these are data for the task {train.task}; OpenAI's rules are for conversations.",
            where=train.sources[0],
            remedy='Write {"messages": [...]} in each line, or leave --like openai out.',
            code="wrong_task",
            param="like",
        )
    for part, dataset in parts.items():
        rows = 0
        wrong_kind: set[str] = set()
        for path, name in dataset.kinds():
            if name != "jsonl":
                wrong_kind.add(path)
                message = f"this file is {name}; OpenAI takes JSON lines only."
                yield problem("not_jsonl", message, "Write one JSON object per line.", 0, path)
        for row in dataset.rows():
            rows += 1
            if isinstance(row, Row) and row.source not in wrong_kind:
                yield from _row(row)
        if part == TRAIN and rows < LEAST:
            yield problem(
                "invalid_n_examples",
                f"the training file has {rows} example(s), but must have at least {LEAST} examples.",
                "Add examples.",
                0,
                train.sources[0],
            )


def _row(row: Row) -> Iterator[Finding]:
    def found(code: str, message: str, remedy: str) -> Finding:
        return problem(code, message, remedy, row.line, row.source)

    values = row.values
    allowed = CHAT if "messages" in values else LEGACY
    if "messages" not in values and "prompt" not in values:
        names = ", ".join(map(repr, list(values)[:10]))
        remedy = 'Write {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}.'
        yield found("not_openai_format", f"there is no 'messages'; this row has {names}.", remedy)
        return
    for name in values:
        if name not in allowed:
            remedy = f"{nearest(name, allowed)} Remove it or correct its name."
            yield found("unknown_field", f"the field {name!r} is not one of OpenAI's.", remedy)
    if not isinstance(values.get("parallel_tool_calls", False), bool):
        yield found("wrong_type", "'parallel_tool_calls' is not true or false.", "Write true or false.")
    messages = values.get("messages")
    if allowed is CHAT and not isinstance(messages, list):
        yield found("wrong_type", "'messages' is not a list.", "Write it as JSON, not as a text.")
    for number, message in enumerate(messages if isinstance(messages, list) else [], 1):
        if not isinstance(message, dict):
            continue  # the reader of the rows has said so
        if "role" not in message:
            names = ", ".join(map(repr, message))
            remedy = 'Write {"role": "user", "content": "..."}.'
            yield found("not_openai_format", f"message {number} has {names}, and no role.", remedy)
        calls = message.get("tool_calls")
        for call in calls if isinstance(calls, list) else []:
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict) and not isinstance(function.get("arguments"), str):
                remedy = 'Write them as a text: "{\\"city\\": \\"Rome\\"}".'
                yield found("bad_arguments", f"the arguments in message {number} are no text.", remedy)
    yield from (found(*wrong) for wrong in _tools(values.get("tools")))


def _tools(tools: Any) -> Iterator[tuple[str, str, str]]:
    if isinstance(tools, str):
        yield "wrong_type", "'tools' is a text, not a list.", "Write it as JSON."
        return
    for number, tool in enumerate(tools if isinstance(tools, list) else [], 1):
        function = tool.get("function") if isinstance(tool, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(tool, dict) and tool.get("type") != "function":
            yield "bad_tool", f"tool {number} is not of type 'function'.", 'Write "type": "function".'
        if isinstance(name, str) and not _NAME.fullmatch(name):
            remedy = "Use letters, digits, _ and -, 64 at most."
            yield "bad_tool_name", f"the name of tool {number} is {name[:70]!r}.", remedy
