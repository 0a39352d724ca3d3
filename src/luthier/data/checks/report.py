"""What a check found: the first findings in memory, all of them counted, the rest in a file."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.core import durable
from luthier.data.samples import Finding, Severity

SHOWN = 100
"""Findings that a report holds."""
FIRST = 3
"""Findings per code that the terminal may show, whatever else was found."""
RANK: dict[str, int] = {"error": 0, "warning": 1, "info": 2}


@dataclass(slots=True)
class CodeSummary:
    """All findings of one code."""

    code: str
    severity: Severity
    count: int = 0
    first: list[Finding] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {"code": self.code, "severity": self.severity, "count": self.count}


class Findings:
    """Takes findings one by one in bounded memory.

    The first `SHOWN` (most severe first, then by place) stay; each other one goes to `path` as a
    JSON line, or is only counted where there is no path.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._log: durable.AppendLog | None = None
        self._heap: list[tuple[int, int, int, int, Finding]] = []
        self._sources: dict[str, int] = {}
        self._taken = 0
        self.overflow = 0
        self.codes: dict[str, CodeSummary] = {}
        if path is not None and path.exists():
            durable.write_bytes(path, b"")  # what an earlier check left there is not of this one

    def add(self, finding: Finding) -> None:
        """Take one finding."""
        self._taken += 1
        rank = RANK[finding.severity]
        summary = self.codes.get(finding.code)
        if summary is None:
            summary = self.codes[finding.code] = CodeSummary(finding.code, finding.severity)
        elif rank < RANK[summary.severity]:
            summary.severity = finding.severity
        summary.count += 1
        if len(summary.first) < FIRST:
            summary.first.append(finding)
        order = self._sources.setdefault(finding.source, len(self._sources))
        entry = (-rank, -order, -finding.line, -self._taken, finding)
        if len(self._heap) < SHOWN:
            heapq.heappush(self._heap, entry)
            return
        self._spill(heapq.heappushpop(self._heap, entry)[-1])

    def _spill(self, finding: Finding) -> None:
        self.overflow += 1
        if self._path is None:
            return
        if self._log is None:
            durable.write_bytes(self._path, b"")
            self._log = durable.AppendLog(self._path)
        self._log.append(finding.to_dict())

    def close(self) -> None:
        """Make the file durable."""
        if self._log is not None:
            self._log.close()

    @property
    def first(self) -> list[Finding]:
        """The findings that stay, most severe first, then by place."""
        return [entry[-1] for entry in sorted(self._heap, key=lambda entry: entry[:4], reverse=True)]

    @property
    def file(self) -> Path | None:
        """Where the rest lies; None where there is no rest or no path was given."""
        return self._path if self._log is not None else None

    @property
    def summaries(self) -> list[CodeSummary]:
        """All codes, most severe first, then the most frequent."""
        return sorted(self.codes.values(), key=lambda item: (RANK[item.severity], -item.count, item.code))

    def count(self, severity: Severity) -> int:
        """Findings whose code has this severity."""
        return sum(item.count for item in self.codes.values() if item.severity == severity)


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What is known of a data set.

    Attributes:
        ok: no finding is an error.
        rows: rows of the source, usable or not.
        findings: the first 100, most severe first, then by place.
        codes: all findings by code.
        overflow: findings beyond the first 100; `findings_file` holds them.
        stats: facts by name, JSON.
        sample: one row as the model will see it; None when no row is usable.
    """

    task: str
    rows: int
    findings: list[Finding]
    codes: list[CodeSummary]
    overflow: int
    findings_file: Path | None
    stats: dict[str, Any]
    sample: dict[str, Any] | None

    @property
    def ok(self) -> bool:
        return not any(item.severity == "error" for item in self.codes)

    def count(self, severity: Severity) -> int:
        """Findings whose code has this severity."""
        return sum(item.count for item in self.codes if item.severity == severity)

    def to_dict(self) -> dict[str, Any]:
        """The report as `luthier check --json` prints it."""
        found = {
            "total": sum(item.count for item in self.codes),
            "shown": len(self.findings),
            "rest": self.overflow,
            "file": None if self.findings_file is None else str(self.findings_file),
            "by_code": [item.to_dict() for item in self.codes],
        }
        return {
            "ok": self.ok,
            "task": self.task,
            "rows": self.rows,
            "findings": [finding.to_dict() for finding in self.findings],
            "stats": {**self.stats, "findings": found, "sample": self.sample},
        }
