"""Which columns hold conversations, or prompts and completions; and whether a file plainly has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from luthier.core.errors import DataError
from luthier.data.columns import ALIASES, LANGUAGE_ROLES, TARGETS, Columns, Header, Mapped, check_mapping

PLAIN: dict[str, tuple[str, ...]] = {
    "messages": ("messages", "contents", "conversations", "conversation"),
    "tools": ("tools",),
    "system": ("system", "system_prompt", "systeminstruction", "system_instruction"),
    "prompt": ("prompt",),
    "completion": ("completion", "response"),
    "suffix": ("suffix",),
    "instruction": ("instruction",),
    "input": ("input", "context"),
    "output": ("output", "response"),
}
"""Names that say by themselves what the task is."""
ASKED: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "question", "query", "input"),
    "completion": ("completion", "response", "answer", "output"),
    "text": ("text", "content", "code", "document", "body"),
}
"""Further names, where the task is named."""
PREFERENCES = (("preferred_output", "non_preferred_output"), ("chosen", "rejected"))
NEEDED = {
    "chat": "messages (or prompt and completion, or instruction and output)",
    "complete": "prompt and completion (or instruction and output, or text)",
}


class _Finder:
    """Columns by role: the user's mapping first, then the names that are understood."""

    def __init__(self, header: Header, mapped: Mapping[str, Any], asked: bool) -> None:
        self.header, self.mapped, self.asked = header, mapped, asked

    def __call__(self, role: str) -> str | None:
        if role in self.mapped:
            return self.header.named(self.mapped[role], role)
        names = ASKED.get(role, ()) if self.asked else ()
        found = (self.header.by_plain[name] for name in (*PLAIN.get(role, ()), *names) if name in self.header.by_plain)
        return next(found, None)


def recognise_language(
    names: Sequence[str], columns: Mapped | None, rows: Iterable[Mapping[str, Any]], *, where: str = ""
) -> str | None:
    """chat or complete where the columns plainly say so, else None.

    A file that has a text and something to learn from it (label, score, spans) is not looked at.

    Raises:
        DataError: `preferences`, for pairs of a better and a worse answer.
    """
    header, mapped = Header(names, where), check_mapping(columns or {})
    if "text" in mapped or any(role in mapped for role in TARGETS.values()):
        return None
    finder = _Finder(header, mapped, asked=False)
    if not any(role in mapped for role in LANGUAGE_ROLES):
        if _has_encoder_columns(header):
            return None
        _refuse_preferences(header)
    if finder("messages"):
        return "chat"
    prompt = finder("prompt")
    if prompt and finder("completion"):
        return "chat" if any(isinstance(row.get(prompt), list) for row in rows) else "complete"
    return "complete" if finder("instruction") and finder("output") else None


def _has_encoder_columns(header: Header) -> bool:
    """Whether the file is read as one of the tasks with a head already."""
    there = set(header.by_plain)
    targets = any(there.intersection(ALIASES[role]) for role in TARGETS.values())
    return targets and (bool(there.intersection(ALIASES["text"])) or header.pair() is not None)


def _refuse_preferences(header: Header) -> None:
    for better, worse in PREFERENCES:
        if better in header.by_plain and worse in header.by_plain:
            raise DataError(
                f"these are pairs of a better and a worse answer ({better!r}, {worse!r}), which the task prefer "
                "learns; this version does not have it yet.",
                where=header.where,
                remedy=f"To learn the better answers only, make prompt and completion columns from {better!r}.",
                code="preferences",
                param="task",
            )


def resolve_language(
    names: Sequence[str],
    task: str,
    columns: Mapped | None = None,
    *,
    group: str | None = None,
    where: str = "",
    require_target: bool = True,
) -> Columns:
    """The columns of a file for chat or complete.

    Args:
        require_target: False for rows to be answered, where the answer's column may be missing and
            chat takes a `text` column as what the user says.

    Raises:
        DataError: `missing_column`, `preferences`, or `wrong_task` for conversations under complete.
    """
    header, mapped = Header(names, where), check_mapping(columns or {})
    found = _Finder(header, mapped, asked=True)
    named: dict[str, str | None] = {}
    text = ""
    if "text" in mapped and task == "complete":
        text = found("text") or ""
    elif found("messages") and not {"prompt", "instruction"} & set(mapped):
        if task == "complete":
            raise DataError(
                f"{found('messages')!r} holds conversations, which the task complete does not read.",
                where=where,
                remedy="Say --task chat.",
                code="wrong_task",
                param="task",
            )
        named = {role: found(role) for role in ("messages", "tools", "system")}
    else:
        _refuse_preferences(header)
        if found("instruction") and (found("output") or not require_target) and "prompt" not in mapped:
            named = {role: found(role) for role in ("instruction", "input", "output")}
        elif found("prompt") and (found("completion") or not require_target):
            named = {role: found(role) for role in ("prompt", "completion")}
            if task == "complete":
                named["suffix"] = found("suffix")
        elif found("text") and task == "complete":
            text = found("text") or ""
        elif found("text") and not require_target:
            named = {"prompt": found("text")}
        else:
            raise _missing(header, task)
        if task == "chat":
            named |= {role: found(role) for role in ("system", "tools")}
    group_name = group if group is not None else mapped.get("group")
    return Columns(
        text,
        group=None if group_name is None else header.named(group_name, "group"),
        language=tuple((role, name) for role, name in named.items() if name is not None),
    )


def _missing(header: Header, task: str) -> DataError:
    role = "messages" if task == "chat" else "prompt"
    mapping = "{messages: COLUMN}" if task == "chat" else "{prompt: COLUMN, completion: COLUMN}"
    return DataError(
        f"the task {task} needs {NEEDED[task]}; the columns are {header.listed()}.",
        where=header.where,
        remedy=f"Name them: --set 'data.columns={mapping}'.",
        code="missing_column",
        param=f"data.columns.{role}",
    )
