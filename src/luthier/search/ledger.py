"""What was predicted and what it was: a file of JSON lines, one for each run that ended, which makes forecasts better.

It holds numbers and the names of task, method and catalogue model; no data, no path, no key.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from luthier.core import clock, durable_files

FORMAT = 1
MOST_BYTES = 2 << 20
"""About two thousand runs; above it the older half goes."""
RECENT = 200
"""Newest runs that a forecast looks at."""
_LINE = 64 * 1024


def ledger_file() -> Path:
    """``$LUTHIER_LEDGER``, or ``luthier/forecasts.jsonl`` in the user's folder for data."""
    chosen = os.environ.get("LUTHIER_LEDGER")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "luthier" / "forecasts.jsonl"


@dataclass(frozen=True)
class Entry:
    """One run that ended.

    Attributes:
        machine: what its times depend on besides the recipe (`search.machine`).
        workload: `search.workload.Workload` as JSON.
        stages: measured seconds by stage; formula: what the formulas alone say, before any correction.
        predicted: {"seconds": {value, low, high}, "peak_memory_bytes": {...}, "basis"}; actual: the same two numbers
            (memory None where an earlier run of the process had needed more).
        whole: False for a run that was resumed or stopped early: its total says nothing of the formulas.
    """

    created_at: str
    machine: str
    model: str
    workload: dict[str, Any]
    stages: dict[str, float]
    formula: dict[str, float]
    predicted: dict[str, Any]
    actual: dict[str, Any]
    whole: bool = True
    extra: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """One JSON line."""
        return {"format": FORMAT, **vars(self)}


def append(entry: Entry, path: Path | None = None) -> None:
    """Add a run. Raises `StorageError` where the file cannot be written."""
    line = json.dumps(entry.to_dict(), ensure_ascii=False, allow_nan=False)
    durable_files.append_line(path or ledger_file(), line, most_bytes=MOST_BYTES)


def recent() -> list[Entry]:
    """The newest runs, as many as a forecast looks at."""
    return read(most=2 * RECENT)


def read(path: Path | None = None, *, most: int | None = None) -> list[Entry]:
    """The runs, oldest first, of the last `most` lines; broken lines and those of another format are passed over."""
    lines = _lines(path or ledger_file())
    found = (_entry(line) for line in (lines if most is None else lines[-most:]))
    return [entry for entry in found if entry is not None]


def _entry(line: bytes) -> Entry | None:
    try:
        values = json.loads(line)
        if values.pop("format") != FORMAT:
            return None
        known = {name: values[name] for name in Entry.__dataclass_fields__ if name in values}
        entry = Entry(**known)
        numbers = [*entry.stages.values(), *entry.formula.values(), entry.actual["seconds"],
                   entry.predicted["seconds"]["value"]]  # fmt: skip
        sound = all(isinstance(number, int | float) and math.isfinite(number) and number >= 0 for number in numbers)
        return entry if sound and isinstance(entry.workload, dict) and isinstance(entry.model, str) else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


ASKED = "asked-1"
ASKED_FOR = 7 * 86_400.0
"""Seconds for which a forecast by probe is remembered for the run that it was for."""


def remember(fingerprint: str, machine: str, asked: dict[str, Any], path: Path | None = None) -> None:
    """Keep a forecast by probe for the run of the same recipe; `fingerprint` is a hash. Raises `StorageError`."""
    values = {"format": ASKED, "created_at": clock.now().isoformat(timespec="seconds"), "fingerprint": fingerprint,
              "machine": machine, **asked}  # fmt: skip
    line = json.dumps(values, ensure_ascii=False, allow_nan=False)
    durable_files.append_line(path or ledger_file(), line, most_bytes=MOST_BYTES)


def recall(fingerprint: str, machine: str, path: Path | None = None) -> dict[str, Any] | None:
    """The newest forecast by probe of this recipe on this machine, if there is a recent one."""
    for line in reversed(_lines(path or ledger_file())):
        if fingerprint.encode() not in line:
            continue
        try:
            values = json.loads(line)
            age = (clock.now() - datetime.fromisoformat(values["created_at"])).total_seconds()
            if values["format"] == ASKED and values["machine"] == machine and 0 <= age < ASKED_FOR:
                return dict(values)
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return None


def _lines(path: Path) -> list[bytes]:
    try:
        with open(path, "rb") as handle:
            return [line for line in handle.read(4 * MOST_BYTES).split(b"\n") if 2 < len(line) <= _LINE]
    except OSError:
        return []


def correction(
    entries: Sequence[Entry], machine: str, model: str, method: str, task: str, stage: str
) -> tuple[float, float]:
    """(factor for the formula of `stage`, evidence): what earlier runs on this machine say of it.

    The factor is a weighted median of measured / formula; runs that are more alike and newer weigh more. `evidence` is
    the sum of these weights: 0 where nothing is known, and then the factor is 1.
    """
    ratios: list[tuple[float, float]] = []
    for age, entry in enumerate(reversed(entries[-RECENT:])):
        if entry.machine != machine:
            continue
        said, was = entry.formula.get(stage, 0.0), entry.stages.get(stage, 0.0)
        if said < 0.01 or was <= 0:
            continue
        alike = (4.0 if entry.model == model else 0.5) * (3.0 if entry.workload.get("method") == method else 1.0)
        alike *= 2.0 if entry.workload.get("task") == task else 1.0
        alike *= min(1.0, said / 0.2)  # a stage of a few hundredths is mostly noise
        ratios.append((was / said, alike * 0.98**age / 24.0))
    evidence = sum(weight for _, weight in ratios)
    if not ratios:
        return 1.0, 0.0
    middle = _weighted_median(ratios)
    trust = evidence / (evidence + 0.3)
    return math.exp(trust * math.log(middle)), evidence


def _weighted_median(pairs: Iterable[tuple[float, float]]) -> float:
    ordered = sorted(pairs)
    half, reached = sum(weight for _, weight in ordered) / 2, 0.0
    for value, weight in ordered:
        reached += weight
        if reached >= half:
            return value
    return ordered[-1][0]


def accuracy(entries: Sequence[Entry]) -> dict[str, Any]:
    """Our own record: for each basis of a forecast, the median error and how often the actual lay within the interval.

    Only whole runs count; ``runs`` says how many there are.
    """
    report: dict[str, Any] = {"runs": sum(entry.whole for entry in entries), "all_runs": len(entries), "by_basis": {}}
    for basis in ("probe", "formula", "first_steps"):
        cells = {}
        for key in ("seconds", "peak_memory_bytes"):
            pairs, early = [], []
            for entry in entries:
                said = _said(entry, basis, key)
                if entry.whole and said and entry.actual.get(key):
                    pairs.append((said, float(entry.actual[key])))
                    early.append(bool(entry.extra.get("early")))
            if pairs:
                cells[key] = record(pairs, early)
        if cells:
            report["by_basis"][basis] = cells
    return report


def record(pairs: Sequence[tuple[dict[str, float], float]], early: Sequence[bool]) -> dict[str, Any]:
    """Of (predicted {value, low, high}, actual): median absolute error as a share, share within the interval.

    `early` marks runs that patience ended: their value was of all epochs, so only their interval is judged.
    """
    errors = [abs(said["value"] - was) / was for (said, was), ended in zip(pairs, early, strict=True) if not ended]
    errors = errors or [abs(said["value"] - was) / was for said, was in pairs]
    within = sum(said["low"] <= was <= said["high"] for said, was in pairs)
    return {"runs": len(pairs), "median_error": median(errors), "within": within / len(pairs)}


def _said(entry: Entry, basis: str, key: str) -> dict[str, float] | None:
    own = entry.predicted if entry.predicted.get("basis") == basis else entry.extra.get(basis)
    cell = own.get(key) if isinstance(own, dict) else None
    sound = isinstance(cell, dict) and all(isinstance(cell.get(name), int | float) for name in ("value", "low", "high"))
    return cell if sound else None
