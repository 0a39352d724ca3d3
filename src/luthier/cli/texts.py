"""Texts that go into a model, from files and pipes, and its answers about them, for programs and for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from luthier.cli import output
from luthier.cli.stdin import json_object, stdin_lines
from luthier.core.errors import DataError

if TYPE_CHECKING:
    from luthier.core.predictor import Prediction, TextInput

_SHOWN_CLASSES = 3


def file_texts(path: str, task: str, columns: dict[str, str] | None) -> Iterator[TextInput]:
    """The texts of a data file; its labels, if it has any, are not needed."""
    from luthier.data.dataset import Dataset

    data = Dataset.open(path, task=task, columns=columns, require_target=False)
    return (sample.input for sample in data.samples())


def stdin_texts() -> Iterator[TextInput]:
    """Lines of stdin: JSON objects with `text` when the first line is one, else each line is a text."""
    as_json: bool | None = None
    for number, line in stdin_lines():
        if as_json is None:
            as_json = line.lstrip().startswith("{") and json_object(line) is not None
        yield _json_input(line, number) if as_json else line


def _json_input(line: str, number: int) -> TextInput:
    value = json_object(line) or {}
    text, second = value.get("text"), value.get("text_pair")
    if not isinstance(text, str) or not isinstance(second, str | None):
        raise DataError(
            "this line is not a JSON object with a text.",
            where=f"stdin:{number}",
            remedy='Each line needs {"text": "..."}, like the first one.',
            code="not_parseable",
        )
    return text if second is None else (text, second)


def row(task: str, text: TextInput, answer: Prediction) -> dict[str, Any]:
    """One answer as a JSON line has it (docs/data.md lists the keys)."""
    first, second = (text, None) if isinstance(text, str) else text
    value: dict[str, Any] = {"text": first}
    if second is not None:
        value["text_pair"] = second
    if task == "extract":
        value["spans"] = [span.to_dict() for span in answer.spans or ()]
        return value
    if task == "regress":
        value["score"] = answer.score
        if answer.values is not None and len(answer.values) > 1:
            value["values"] = answer.scores or list(answer.values)
        return value
    value.update(label=answer.label, score=answer.score, scores=answer.scores)
    if answer.labels is not None:
        value["labels"] = list(answer.labels)
    if answer.abstained:
        value["abstained"] = True
    return value


def person_text(text: TextInput, answer: Prediction) -> str:
    """One answer for a person: the text, and below it what the model says."""
    shown = output.clean(text if isinstance(text, str) else " | ".join(text), 100)
    if answer.spans is not None:
        lines = [
            f"  {output.clean(span.text)}  {span.label}  ({span.start} to {span.end}, {span.score:.2f})"
            for span in answer.spans
        ]
        return "\n".join([shown, *(lines or ["  nothing found"])])
    if not answer.scores:
        return f"{shown}\n  {answer.score:.4g}" if answer.score is not None else f"{shown}\n  no answer"
    best = sorted(answer.scores.items(), key=lambda item: -item[1])[:_SHOWN_CLASSES]
    others = ", ".join(f"{output.clean(name)} {score:.2f}" for name, score in best)
    if answer.labels is not None:
        says = ", ".join(answer.labels) or "no label"
    elif answer.abstained or answer.label is None:
        says = "not sure"
    else:
        says = answer.label
    return f"{shown}\n  {output.clean(says)}  ({others})"
