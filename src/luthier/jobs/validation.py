"""Checks the files of a new job, in a process of its own: ``python -m luthier.jobs.validation PARENT``.

It reads one request from stdin and writes one answer to stdout. It has no torch, limited memory, and may wait, warm,
for its request: so a job is checked within a moment of its creation.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from luthier.core.errors import LuthierError
from luthier.data.checks import check
from luthier.data.checks.report import CheckReport
from luthier.data.samples import Finding
from luthier.jobs.children import begin_checking
from luthier.jobs.file_names import named
from luthier.jobs.worker_wire import from_line, to_line

MOST_LINES = 100
"""Errors that are told by line; the rest is in the findings file."""
_MOST_WARNINGS = 10
_MEMORY_BYTES = 4 * 2**30
_LONGEST_MESSAGE = 300


def validate(request: dict[str, Any]) -> dict[str, Any]:
    """The verdict on a job's files.

    Args:
        request: `sources` (train, validation, test: paths), `names` (what people call each path), `task`,
            `columns`, `group`, `like`, `findings` (path of the file for errors beyond the first hundred).

    Returns:
        `ok`, `task`, `rows`, `warnings` (texts), and where not ok `error` {code, message, param}.
    """
    names: dict[str, str] = request["names"]
    sources: dict[str, Any] = request["sources"]
    validation = sources.get("validation")
    param = "training_file"
    try:
        report = check(
            sources["train"],
            task=request["task"],
            columns=request.get("columns") or None,
            group=request.get("group"),
            validation=validation if isinstance(validation, str | list) else None,
            test=sources.get("test"),
            like=request.get("like"),
            findings_file=request["findings"],
        )
    except LuthierError as error:
        if any(path in f"{error.where} {error.message}" for path in _paths(validation)):
            param = "validation_file"
        place = _line(error.where)
        message = named(f"{f'Line {place}: ' if place else ''}{error.message} {error.remedy}".strip(), names)
        return {"ok": False, "error": _error(message, param, error.code)}
    if not report.ok:
        errors = [finding for finding in report.findings if finding.severity == "error"]
        if errors and all(finding.source in _paths(validation) for finding in errors):
            param = "validation_file"
        return {"ok": False, "error": _error(_told(errors, report, names), param, errors[0].code if errors else "")}
    return {
        "ok": True,
        "task": report.task,
        "rows": report.rows,
        "warnings": [named(text, names) for text in _warnings(report)],
    }


def _told(errors: list[Finding], report: CheckReport, names: dict[str, str]) -> str:
    """The first errors by line, and how many there are in all."""
    lines = []
    for finding in errors[:MOST_LINES]:
        at = "" if not finding.line or finding.message.startswith("Line ") else f"Line {finding.line}: "
        lines.append(named(f"{at}{finding.message}"[:_LONGEST_MESSAGE], names))
    total = report.count("error")
    more = f"\n... and {total - len(lines)} more, in the job's findings file." if total > len(lines) else ""
    return "\n".join(lines) + more


def _warnings(report: CheckReport) -> list[str]:
    """One text per kind of warning, the first place of each."""
    found = []
    first = {finding.code: finding for finding in reversed(report.findings)}
    for summary in report.codes:
        if summary.severity == "warning" and summary.code in first:
            count = f" ({summary.count} in all)" if summary.count > 1 else ""
            found.append(f"{first[summary.code].message[:_LONGEST_MESSAGE]}{count}")
    return found[:_MOST_WARNINGS]


def _error(message: str, param: str, code: str) -> dict[str, Any]:
    kept = code if code == "invalid_n_examples" else f"invalid_{param}"
    start = f"The job failed due to an invalid {param.replace('_', ' ')}. "
    return {"code": kept, "message": start + message, "param": param}


def _paths(source: Any) -> list[str]:
    return [source] if isinstance(source, str) else list(source) if isinstance(source, list) else []


def _line(where: str) -> str:
    end = where.rpartition(":")[2]
    return end if end.isdecimal() else ""


def main(argv: list[str]) -> int:
    """Answer one request."""
    line = begin_checking(int(argv[0]), _MEMORY_BYTES)
    if not line:
        return 0  # it was not needed
    request = from_line(line)
    if not isinstance(request.get("findings"), str) or not Path(request["findings"]).is_absolute():
        return 2
    sys.stdout.buffer.write(to_line(validate(request)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
