"""OpenAI's graders at work: a number for an answer, and what went wrong where there is none.

An answer that a grader cannot grade (its code raises, its formula is undefined) scores 0, as at OpenAI, and the
reason is kept. A mistake in the grader itself, such as a column that no row has, is an error.
"""

from __future__ import annotations

import json
import math
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.core.errors import DataError, UsageError
from luthier.evaluate.generation.formula import Formula
from luthier.evaluate.generation.grader_models import (
    Grader,
    InputMessage,
    Multi,
    PythonCode,
    ScoreModel,
    StringCheck,
    TextSimilarity,
    parse_grader,
    parse_graders,
)
from luthier.evaluate.generation.placeholders import Missing, fill
from luthier.evaluate.generation.sandbox import Limits, run_python
from luthier.evaluate.generation.similarity import Embed, similarity

__all__ = ["Ask", "Grade", "Grader", "grade", "parse_grader", "parse_graders", "sample_of"]

Ask = Callable[[Sequence[Mapping[str, str]]], str]
"""Messages of role and content to the answer of a judging model."""

PYTHON_LIMITS = Limits(seconds=20.0, cpu_seconds=20)
_CHECKS: dict[str, Callable[[str, str], bool]] = {
    "eq": lambda text, reference: text == reference,
    "ne": lambda text, reference: text != reference,
    "like": lambda text, reference: reference in text,
    "ilike": lambda text, reference: reference.casefold() in text.casefold(),
}
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class Grade:
    """A score; `error` says why it is 0 where nothing could be graded; `parts` are a multi grader's own scores."""

    score: float
    error: str = ""
    parts: dict[str, float] = field(default_factory=dict)


def sample_of(output: str) -> dict[str, Any]:
    """What ``sample`` is to a grader: output_text, and output_json where the answer is JSON."""
    try:
        parsed = json.loads(output)
    except (ValueError, RecursionError):
        parsed = None
    return {"output_text": output, "output_json": parsed, "output_tools": []}


def grade(
    grader: Grader,
    sample: Mapping[str, Any],
    item: Mapping[str, Any],
    *,
    ask: Ask | None = None,
    embed: Embed | None = None,
) -> Grade:
    """Grade one answer.

    Args:
        sample: `sample_of` the answer. item: the row's columns, with reference_answer.
        ask: of a score_model grader, which is a `UsageError` without it. embed: of cosine similarity.

    Raises:
        DataError: the grader asks for a column that the row does not have.
        UsageError: a package, `ask` or `embed` is missing.
    """
    try:
        if isinstance(grader, Multi):
            return _multi(grader, sample, item, ask, embed)
        if isinstance(grader, StringCheck):
            found = _CHECKS[grader.operation](fill(grader.input, sample, item), fill(grader.reference, sample, item))
            return Grade(float(found))
        if isinstance(grader, TextSimilarity):
            texts = fill(grader.input, sample, item), fill(grader.reference, sample, item)
            return Grade(similarity(grader.evaluation_metric, *texts, embed))
        if isinstance(grader, PythonCode):
            return _python(grader, sample, item)
        return _model(grader, sample, item, ask)
    except Missing as missing:
        if missing.root == "sample":
            return Grade(0.0, str(missing))
        raise DataError(
            f"the grader {grader.name!r} cannot be filled in: {missing}.",
            remedy="Use columns that every row has; the reference is {{ item.reference_answer }}.",
            code="grader_column_missing",
            param="evaluate.graders",
        ) from None


def _multi(
    grader: Multi, sample: Mapping[str, Any], item: Mapping[str, Any], ask: Ask | None, embed: Embed | None
) -> Grade:
    found = {name: grade(part, sample, item, ask=ask, embed=embed) for name, part in grader.graders.items()}
    scores = {name: one.score for name, one in found.items()}
    errors = "; ".join(f"{name}: {one.error}" for name, one in found.items() if one.error)
    try:
        return Grade(Formula(grader.calculate_output)(scores), errors, scores)
    except ValueError as error:
        return Grade(0.0, "; ".join(filter(None, (errors, str(error)))), scores)


def _python(grader: PythonCode, sample: Mapping[str, Any], item: Mapping[str, Any]) -> Grade:
    """The code's own printing is told apart from its result by a word that it cannot know."""
    mark = secrets.token_hex(16)
    given = json.dumps([dict(sample), dict(item)], default=str)
    program = (
        f"{grader.source}\n\nimport json as _json\n"
        f"_sample, _item = _json.loads({given!r})\n"
        f"print({mark!r} + _json.dumps(float(grade(_sample, _item))))\n"
    )
    found = run_python(program, PYTHON_LIMITS)
    if not found.ok:
        return Grade(0.0, (found.error.splitlines() or ["it ended without a word"])[-1])
    last = found.stdout.rpartition(mark)[2].strip() if mark in found.stdout else ""
    score = float(last) if _NUMBER.fullmatch(last) else math.nan
    return Grade(score) if math.isfinite(score) else Grade(0.0, "grade(sample, item) gave no finite number")


def _model(grader: ScoreModel, sample: Mapping[str, Any], item: Mapping[str, Any], ask: Ask | None) -> Grade:
    if ask is None:
        raise UsageError(
            f"the grader {grader.name!r} asks a model, and none is connected.",
            remedy="Give evaluate_generation(..., ask=...) a function that sends messages to an endpoint.",
            code="no_judge",
            param="evaluate.graders",
        )
    low, high = grader.range
    messages = [{"role": one.role, "content": fill(_text(one), sample, item)} for one in grader.input]
    wish = f'Answer with a JSON object {{"result": NUMBER}}, the number from {low:g} to {high:g}.'
    score = _number(ask([*messages, {"role": "user", "content": wish}]))
    if score is None:
        return Grade(0.0, "the judging model gave no number")
    if not low <= score <= high:
        return Grade(0.0, f"the judging model gave {score:g}, outside of {low:g} to {high:g}")
    return Grade(score)


def _text(message: InputMessage) -> str:
    parts = message.content if isinstance(message.content, list) else [message.content]
    return "\n".join(part if isinstance(part, str) else part.text for part in parts)


def _number(answer: str) -> float | None:
    """``result`` (or ``score``) of a JSON object in the answer, else the last number in it."""
    start, end = answer.find("{"), answer.rfind("}")
    if 0 <= start < end:
        try:
            value = json.loads(answer[start : end + 1])
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            for key in ("result", "score"):
                if type(value.get(key)) in (int, float):
                    return float(value[key])
    numbers = _NUMBER.findall(answer)
    return float(numbers[-1]) if numbers else None
