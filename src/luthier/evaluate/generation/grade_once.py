"""One grader, one answer, in a process of its own: ``python -m luthier.evaluate.generation.grade_once PARENT``.

A server asks for it, since a thread that compares two long texts cannot be stopped. JSON lines: the first that comes
in is {"grader", "sample", "item", "python"} ("sample" null: the grader is only checked); the last that goes out is
{"grade": {...}}, {"grader": {...}} or {"error": {...}}. In between goes {"ask": {"model", "messages", ...}} for each
question of a score_model grader, and {"answer": text} comes.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from luthier.core import clock
from luthier.core.children import die_with_parent
from luthier.core.errors import DataError, LuthierError, UsageError
from luthier.evaluate.generation.formula import Formula
from luthier.evaluate.generation.grader_models import Grader, Multi, PythonCode, ScoreModel, parse_grader
from luthier.evaluate.generation.graders import Grade, grade, sample_of

CPU_SECONDS = 30
MEMORY_BYTES = 4 * 2**30
_FLAGS = {"python": "python_grader_runtime_error", "score_model": "model_grader_parse_error"}
"""What is said of an answer that could not be graded, by the type of its grader; of the others the answer is at
fault (it is no JSON, say)."""


@dataclass(slots=True)
class _Run:
    """One answer to be graded; `flags` collects OpenAI's words for what went wrong."""

    sample: Mapping[str, Any]
    item: Mapping[str, Any]
    given: TextIO
    told: TextIO
    flags: dict[str, bool | str]

    def grade(self, grader: Grader) -> Grade:
        if not isinstance(grader, Multi):
            return self._part(grader)
        parts = {name: self._part(part) for name, part in grader.graders.items()}
        scores = {name: part.score for name, part in parts.items()}
        errors = [f"{name}: {part.error}" for name, part in parts.items() if part.error]
        try:
            return Grade(Formula(grader.calculate_output)(scores), "; ".join(errors), scores)
        except ValueError as error:
            self.flags["formula_parse_error"] = True
            return Grade(0.0, "; ".join([*errors, str(error)]), scores)

    def _part(self, grader: Grader) -> Grade:
        try:
            found = grade(grader, self.sample, self.item, ask=self._asker(grader))
        except DataError as error:  # a column that the item does not have
            self.flags["invalid_variable_error"] = True
            return Grade(0.0, error.message)
        if found.error:
            self.flags[_FLAGS.get(grader.type, "sample_parse_error")] = True
            if isinstance(grader, PythonCode):
                self.flags["python_grader_runtime_error_details"] = found.error
        return found

    def _asker(self, grader: Grader) -> Any:
        if not isinstance(grader, ScoreModel):
            return None
        sampling = {} if grader.sampling_params is None else grader.sampling_params.model_dump(exclude_none=True)

        def ask(messages: Sequence[Mapping[str, str]]) -> str:
            question = {"model": grader.model, "messages": [dict(one) for one in messages], "sampling": sampling}
            _write(self.told, {"ask": question})
            return str(json.loads(self.given.readline())["answer"])

        return ask


def answer(request: Mapping[str, Any], given: TextIO, told: TextIO) -> dict[str, Any]:
    """The last line to a request."""
    try:
        grader = parse_grader(request["grader"], "grader")
        sample = request.get("sample")
        if sample is None:
            return {"grader": grader.model_dump(exclude_none=True)}
        if not request.get("python") and any(isinstance(part, PythonCode) for part in _parts(grader)):
            raise UsageError(
                "python graders are not run on this server.",
                remedy="Use another type of grader, or ask the operator to allow them (allow_python_graders).",
                code="python_graders_off",
                param="grader",
            )
        began = clock.monotonic()
        run = _Run(sample_of(sample), request.get("item") or {}, given, told, {})
        found = run.grade(grader)
    except LuthierError as error:
        message = f"{error.message[:1].upper()}{error.message[1:]} {error.remedy}".strip()
        return {"error": {"message": message, "code": error.code, "param": error.param}}
    return {
        "grade": {
            "name": grader.name,
            "type": grader.type,
            "score": found.score,
            "parts": found.parts,
            "error": found.error,
            "flags": run.flags,
            "seconds": clock.monotonic() - began,
        }
    }


def _parts(grader: Grader) -> Iterator[Grader]:
    yield grader
    if isinstance(grader, Multi):
        yield from grader.graders.values()


def _write(told: TextIO, value: dict[str, Any]) -> None:
    told.write(json.dumps(value) + "\n")
    told.flush()


def _limit() -> None:
    """Where there are POSIX limits: no more time and memory than one answer needs."""
    if os.name == "posix":
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(argv: Sequence[str]) -> int:
    """Read, grade, answer."""
    die_with_parent(int(argv[0]))
    _limit()
    request = json.loads(sys.stdin.readline())
    _write(sys.stdout, answer(request, sys.stdin, sys.stdout))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
