"""A row of any format becomes a sample."""

from __future__ import annotations

from luthier.core.recipe import LANGUAGE_TASKS
from luthier.data.columns import TARGETS, Columns
from luthier.data.conversations import language_target
from luthier.data.formats.base import Row
from luthier.data.samples import Finding, Sample, Target
from luthier.data.targets import Wrong, kind, one_label, parse_label, parse_score, parse_spans


def row_to_sample(row: Row, columns: Columns, task: str, *, require_target: bool = True) -> Sample | Finding:
    """What the row says, or the first thing that is wrong with it.

    Args:
        columns: as `columns.resolve` gave them.
        task: classify, regress, extract, chat or complete.
        require_target: whether a row without an answer is an error; else its target is None (for chat
            and complete: what is asked, without an answer).
    """
    try:
        if task in LANGUAGE_TASKS:
            question, language = language_target(row, columns, task, require_target=require_target)
            group = _group_of(row, columns)
            return Sample(question, None, language, group, row.line, row.source)
        text = _text(row, columns.text)
        pair = None if columns.text_pair is None else _text(row, columns.text_pair)
        target = _target(row, columns, task, text, require_target)
        group = _group_of(row, columns)
    except Wrong as wrong:
        return wrong.finding(row.line, row.source)
    return Sample(text, pair, target, group, row.line, row.source)


def _missing(column: str, row: Row) -> Wrong:
    there = ", ".join(map(repr, list(row.values)[:20])) or "none"
    return Wrong("missing_field", f"this row has no {column!r}; it has {there}.", "Add it or leave the row out.")


def _text(row: Row, column: str) -> str:
    if column not in row.values:
        raise _missing(column, row)
    value = row.values[column]
    if value is None or value == "":
        raise Wrong("empty_text", f"{column!r} is empty.", "Write a text or leave the row out.")
    if not isinstance(value, str):
        raise Wrong("wrong_type", f"{column!r} is {kind(value)}, not a text.", "Write it in double quotes.")
    if value.isspace():
        raise Wrong("empty_text", f"{column!r} holds nothing but white space.", "Write a text or leave the row out.")
    return value


def _group_of(row: Row, columns: Columns) -> str | None:
    column = columns.group
    if column is None:
        return row.group
    if column not in row.values:
        raise _missing(column, row)
    value = row.values[column]
    return None if value is None or value == "" else one_label(value, column)


def _target(row: Row, columns: Columns, task: str, text: str, require_target: bool) -> Target:
    names = columns.score if task == "regress" else (getattr(columns, TARGETS[task]),)
    if not names or not all(names):
        return None
    if not require_target and any(row.values.get(name) in (None, "") for name in names):
        return None
    for name in names:
        if name not in row.values:
            raise _missing(name, row)
    if task == "regress":
        return tuple(parse_score(row.values[name], name) for name in names)
    value = row.values[names[0]]
    if task == "extract":
        return parse_spans(value, text, names[0])
    return parse_label(value, names[0])
