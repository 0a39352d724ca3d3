"""Which column means what, and what the task is: recognised where plain, asked for where not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from luthier.core.errors import DataError, nearest

LANGUAGE_ROLES = ("messages", "tools", "system", "prompt", "completion", "suffix", "instruction", "input", "output")
"""What generative tasks read; `data.language_columns` finds them."""
ROLES = ("text", "text_pair", "label", "score", "spans", "group", *LANGUAGE_ROLES)
TARGETS = {"classify": "label", "regress": "score", "extract": "spans"}
"""The role that a task learns; generative tasks learn conversations and completions."""

ALIASES: dict[str, tuple[str, ...]] = {
    "text": (
        "text",
        "sentence",
        "review",
        "content",
        "message",
        "question",
        "query",
        "utterance",
        "comment",
        "tweet",
        "document",
        "body",
        "input",
    ),
    "label": (
        "label",
        "labels",
        "category",
        "class",
        "intent",
        "sentiment",
        "topic",
        "target",
        "stars",
        "rating",
    ),
    "score": (
        "score",
        "scores",
        "similarity",
        "similarity_score",
        "relatedness_score",
        "target",
        "stars",
        "rating",
    ),
    "spans": ("spans", "entities"),
    "text_pair": ("text_pair",),
}
"""Names that are understood without a mapping; the first of each line is the standard one and wins."""

PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("sentence_a", "sentence_b"),
    ("text_a", "text_b"),
)
KNOWN = frozenset(name for names in (*ALIASES.values(), *PAIRS) for name in names)

Mapped = Mapping[str, Any]
"""The user's mapping: role to column name or position; for `score` a list (or a comma between) is allowed."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of one file by role; None or empty where there is none.

    `language` are pairs of a role of `LANGUAGE_ROLES` and its column, for generative tasks.
    """

    text: str
    text_pair: str | None = None
    label: str | None = None
    score: tuple[str, ...] = ()
    spans: str | None = None
    group: str | None = None
    language: tuple[tuple[str, str], ...] = ()

    def column(self, role: str) -> str | None:
        """The column of a generative task's role, `text` included."""
        return self.text or None if role == "text" else dict(self.language).get(role)

    def to_dict(self) -> dict[str, Any]:
        """Only the roles that are there."""
        found = {role: list(name) if isinstance(name, tuple) else name for role, name in asdict(self).items() if name}
        found.pop("language", None)
        return {**found, **dict(self.language)}


def plain(name: str) -> str:
    """A column's name in lower case, with underscores."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


class Header:
    """The columns that are there, and how they are found or missed."""

    def __init__(self, names: Sequence[str], where: str) -> None:
        self.names, self.where = list(names), where
        self.by_plain = {plain(name): name for name in reversed(self.names)}

    def named(self, name: Any, role: str) -> str:
        """The column that the user means by a name or a position from 0."""
        text = str(name)
        if text in self.names:
            return text
        if re.fullmatch(r"\d{1,4}", text) and int(text) < len(self.names):
            return self.names[int(text)]
        raise DataError(
            f"there is no column {text!r} (for {role}); the columns are {self.listed()}.",
            where=self.where,
            remedy=self._hint(text),
            code="missing_column",
            param=f"data.columns.{role}" if role != "group" else "data.group",
        )

    def _hint(self, name: str) -> str:
        hint = nearest(name, self.names)
        return hint if hint.startswith("Did") else "Name one of them."

    def listed(self) -> str:
        if self.names and all(name.isdigit() for name in self.names):
            return f"{', '.join(self.names)} (the file has no header, so they go by position)"
        return ", ".join(repr(name) for name in self.names) or "not there at all"

    def guess(self, role: str) -> str | None:
        """The column that plainly has this role, None if none has, an error if several might."""
        found = [self.by_plain[alias] for alias in ALIASES[role] if alias in self.by_plain]
        if len(found) > 1 and plain(found[0]) != ALIASES[role][0]:
            raise DataError(
                f"several columns could be the {role}: {', '.join(map(repr, found))}.",
                where=self.where,
                remedy=f"Say which: --set 'data.columns={{{role}: {found[0]}}}'.",
                code="ambiguous_column",
                param=f"data.columns.{role}",
            )
        return found[0] if found else None

    def pair(self) -> tuple[str, str] | None:
        for first, second in PAIRS:
            if first in self.by_plain and second in self.by_plain:
                return self.by_plain[first], self.by_plain[second]
        return None

    def missing(self, role: str) -> DataError:
        hint = nearest(role, self.names)
        near = f" {hint}" if hint.startswith("Did") else ""
        return DataError(
            f"there is no {role} column; the columns are {self.listed()}.",
            where=self.where,
            remedy=f"Name it, or give its position from 0: --set 'data.columns={{{role}: COLUMN}}'.{near}",
            code="missing_column",
            param=f"data.columns.{role}",
        )


def check_mapping(columns: Mapped) -> dict[str, Any]:
    """The user's mapping with known roles only.

    Raises:
        DataError: `unknown_role`, with the nearest role.
    """
    for role in columns:
        if role not in ROLES:
            raise DataError(
                f"data.columns has no {role!r}.",
                remedy=nearest(role, ROLES) + " Write the role first: {text: my_column}.",
                code="unknown_role",
                param=f"data.columns.{role}",
            )
    return dict(columns)


def _scores(value: Any, header: Header) -> tuple[str, ...]:
    if isinstance(value, str) and value not in header.names:
        value = [part.strip() for part in value.split(",") if part.strip()]
    items = value if isinstance(value, list | tuple) else [value]
    return tuple(header.named(item, "score") for item in items)


def resolve(
    names: Sequence[str],
    task: str,
    columns: Mapped | None = None,
    *,
    group: str | None = None,
    where: str = "",
    require_target: bool = True,
) -> Columns:
    """The columns of a file with the columns `names`, for a task.

    Raises:
        DataError: `missing_column`, naming the columns that are there; `ambiguous_column`.
    """
    header, mapped = Header(names, where), check_mapping(columns or {})
    pair = None if "text" in mapped or "text" in header.by_plain else header.pair()
    if "text" in mapped:
        text, text_pair = header.named(mapped["text"], "text"), None
    elif pair:
        text, text_pair = pair
    else:
        guessed = header.guess("text")
        if guessed is None:
            raise header.missing("text")
        text, text_pair = guessed, None
    if "text_pair" in mapped:
        text_pair = header.named(mapped["text_pair"], "text_pair")
    elif text_pair is None:
        text_pair = header.guess("text_pair")
    group_name = group if group is not None else mapped.get("group")
    target = TARGETS[task]
    label: str | None = None
    spans: str | None = None
    score: tuple[str, ...] = ()
    if require_target or target in mapped or header.guess(target) is not None:
        if target in mapped:
            if target == "score":
                score = _scores(mapped["score"], header)
            else:
                label = header.named(mapped[target], target)
        else:
            label = header.guess(target)
            if label is None:
                raise header.missing(target)
        if target == "score" and not score and label is not None:
            score, label = (label,), None
        elif target == "spans":
            spans, label = label, None
    return Columns(
        text,
        text_pair,
        label,
        score,
        spans,
        None if group_name is None else header.named(group_name, "group"),
    )


def is_number(value: Any) -> bool:
    """Whether a cell is a number or reads as one."""
    if isinstance(value, str):
        return re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*|(?i:nan|[-+]?inf)", value) is not None
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_decimal(value: Any) -> bool:
    return is_number(value) and float(value) % 1 != 0


def recognise_task(
    names: Sequence[str],
    columns: Mapped | None,
    rows: Iterable[Mapping[str, Any]],
    *,
    where: str = "",
    require_target: bool = True,
) -> str:
    """classify, regress or extract, by the columns that are there and the peeked `rows`.

    Raises:
        DataError: `ambiguous_task` where it is not plain; `missing_column` where there is no target.
    """
    header, mapped = Header(names, where), check_mapping(columns or {})
    asked = [task for task, role in TARGETS.items() if role in mapped]
    if len(asked) == 1:
        return asked[0]
    if len(asked) > 1:
        raise _ambiguous(f"the mapping names columns for {' and '.join(asked)}", where)
    found = {task: header.guess(role) for task, role in TARGETS.items()}
    if found["extract"] is not None:
        return "extract"
    label, score = found["classify"], found["regress"]
    standard = {"label", "labels", "score", "scores"}
    if label is None and score is None:
        if not require_target:
            return "classify"
        if "text" not in mapped and header.pair() is None and header.guess("text") is None:
            raise header.missing("text")
        raise DataError(
            f"there is no label, score or spans column; the columns are {header.listed()}.",
            where=where,
            remedy="Say which holds the answers: --set 'data.columns={label: COLUMN}' (or score, or spans).",
            code="missing_column",
            param="data.columns.label",
        )
    if label is not None and score is not None and label != score:
        if plain(label) in standard and plain(score) in standard:
            raise _ambiguous(f"there is a label ({label!r}) and a score ({score!r})", where)
        return "classify" if plain(label) in standard else "regress"
    column = label or score
    values = [row.get(column) for row in rows if column is not None and row.get(column) not in (None, "")]
    numbers = bool(values) and all(is_number(value) for value in values)
    if label is None:
        if not numbers:
            raise _ambiguous(f"the column {score!r} does not hold numbers throughout", where)
        return "regress"
    if numbers and (score is not None or any(_is_decimal(value) for value in values)):
        raise _ambiguous(f"the column {label!r} holds numbers, which may be classes or amounts", where)
    return "classify"


def _ambiguous(why: str, where: str) -> DataError:
    return DataError(
        f"the task is not plain from the data: {why}.",
        where=where,
        remedy="Say it with --task classify, --task regress or --task extract.",
        code="ambiguous_task",
        param="task",
    )
